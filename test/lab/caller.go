// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// killDelay is the time from SIGTERM to SIGKILL when the context ends.
const killDelay = 2 * time.Second

// namespaces are all that make the lab a host of its own. The user namespace is shared: the lab needs real root.
const namespaces = unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// relayed are the signals that PID 1 and the command get when the caller does.
var relayed = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT}

// runLab is Run on the caller's side.
func runLab(ctx context.Context, opts Options) (int, error) {
	// The death signal comes when the thread that forked PID 1 ends, not the process: keep this thread to the end.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	terminal := ownedTerminal(opts.Stdin)
	cmd, err := initCommand(ctx, opts, terminal != nil)
	if err != nil {
		return 1, err
	}
	reports, reportEnd, err := os.Pipe()
	if err != nil {
		return 1, fmt.Errorf("open lab: %w", err)
	}
	defer reports.Close()
	cmd.ExtraFiles = []*os.File{reportEnd}

	signals := notifySignals()
	defer close(signals)
	defer signal.Stop(signals)
	err = cmd.Start()
	reportEnd.Close()
	if err != nil {
		return 1, startError(err)
	}
	go func() {
		for sig := range signals {
			_ = cmd.Process.Signal(sig)
		}
	}()
	failure := readReport(reports)
	waited := cmd.Wait()
	if terminal != nil {
		takeTerminal(terminal)
	}
	return result(ctx, cmd.ProcessState, waited, failure)
}

func initCommand(ctx context.Context, opts Options, foreground bool) (*exec.Cmd, error) {
	env, err := spec{Command: opts.Command, Foreground: foreground}.environ(opts.Env)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = os.Args
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = opts.streams()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killDelay
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: namespaces,
		Pdeathsig:  syscall.SIGKILL,
		// With a terminal the command gets a foreground group of its own. Without, a group apart from the caller's makes
		// sure that a ctrl-C reaches the command once, relayed, and not once more from the terminal's driver.
		Setpgid: !foreground,
	}
	return cmd, nil
}

func (o Options) streams() (io.Reader, io.Writer, io.Writer) {
	if o.Stdin == nil {
		o.Stdin = os.Stdin
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	return o.Stdin, o.Stdout, o.Stderr
}

// notifySignals leaves alone what the caller was told to ignore, as by nohup.
func notifySignals() chan os.Signal {
	signals := make(chan os.Signal, 8)
	for _, sig := range relayed {
		if !signal.Ignored(sig) {
			signal.Notify(signals, sig)
		}
	}
	return signals
}

func startError(err error) error {
	if isPrivilege(err) {
		return fmt.Errorf("open lab: %w", ErrPrivilege)
	}
	return fmt.Errorf("open lab: %w", err)
}

// readReport returns at the latest when PID 1 starts the command or is gone, since both close the pipe.
func readReport(reports io.Reader) error {
	var r report
	if err := json.NewDecoder(reports).Decode(&r); err != nil {
		return nil
	}
	return r.err()
}

func result(ctx context.Context, state *os.ProcessState, waited, failure error) (int, error) {
	if state == nil {
		return 1, fmt.Errorf("wait for lab: %w", waited)
	}
	code := exitStatus(state.Sys().(syscall.WaitStatus))
	if ctx.Err() != nil {
		return code, ctx.Err()
	}
	if failure != nil {
		return code, fmt.Errorf("open lab: %w", failure)
	}
	var exited *exec.ExitError
	if waited != nil && !errors.As(waited, &exited) && !errors.Is(waited, exec.ErrWaitDelay) {
		return code, fmt.Errorf("wait for lab: %w", waited)
	}
	return code, nil
}
