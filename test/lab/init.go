// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// runInit is Run on the lab's side: PID 1, from the bare namespaces to the command's exit status.
func runInit(setup func() error) {
	unix.CloseOnExec(reportFD)
	reports := os.NewFile(reportFD, "report")
	var child relay
	go child.serve()

	spec, err := takeSpec()
	if err == nil {
		err = furnish(setup)
	}
	if err != nil {
		// The caller cannot be told otherwise if this fails: the status says at least that it went wrong.
		_ = json.NewEncoder(reports).Encode(reportOf(err))
		os.Exit(setupStatus(err))
	}
	reports.Close()
	os.Exit(runCommand(spec, &child))
}

// furnish turns the bare namespaces into the host that the package promises.
func furnish(setup func() error) error {
	if err := unix.Sethostname([]byte(Hostname)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := mountAll(); err != nil {
		return err
	}
	if err := connectOutside(); err != nil {
		return err
	}
	if setup == nil {
		return nil
	}
	return setup()
}

func setupStatus(err error) int {
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) && coded.ExitCode() != 0 {
		return coded.ExitCode()
	}
	return 1
}

// relay hands signals on to the command as soon as there is one.
type relay struct{ pid atomic.Int64 }

func (r *relay) serve() {
	for sig := range notifySignals() {
		number := sig.(syscall.Signal)
		pid := int(r.pid.Load())
		if pid == 0 {
			os.Exit(128 + int(number))
		}
		_ = unix.Kill(pid, number)
	}
}
