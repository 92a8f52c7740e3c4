// SPDX-License-Identifier: Apache-2.0

// Package lab makes a throw-away host: private network, mount, PID, IPC and UTS namespaces with an uplink to a simulated
// outside, a command run in it, and nothing left afterwards.
//
// The host lives exactly as long as its first process, which is a copy of the calling binary as PID 1. Whatever ends that
// process, an exit, a signal, or the death of the caller by SIGKILL, makes the kernel kill everything in the lab and free
// every mount and interface, so there is no clean-up code that could be skipped.
package lab

import (
	"context"
	"errors"
	"io"
)

// The lab's names and addresses.
const (
	// Hostname is the lab host's name.
	Hostname = "flyover-lab"
	// Uplink is the lab host's interface to the outside.
	Uplink = "eth0"
	// UplinkAddress and UplinkAddress6 are the lab host's addresses on Uplink, and the only ones that the outside can reach.
	UplinkAddress  = "203.0.113.2"
	UplinkAddress6 = "2001:db8:ffff::2"
	// OutsideNamespace is the named network namespace at the other end of the uplink.
	OutsideNamespace = "outside"
	// OutsideInterface is the interface in OutsideNamespace that leads to the lab host.
	OutsideInterface = "eth0"
	// OutsideAddress and OutsideAddress6 are the outside's addresses, and the lab host's default gateways.
	OutsideAddress  = "203.0.113.1"
	OutsideAddress6 = "2001:db8:ffff::1"
	// UplinkPrefixLen and UplinkPrefixLen6 are the prefix lengths of the addresses at both ends.
	UplinkPrefixLen  = 24
	UplinkPrefixLen6 = 64
	// MarkerEnv is set to 1 in the environment of the lab's command, for prompts and scripts.
	MarkerEnv = "FLYOVER_LAB"
)

// Exit statuses of a command that could not be started, as shells use them.
const (
	// ExitNotExecutable is the status if the command exists and cannot be executed.
	ExitNotExecutable = 126
	// ExitNotFound is the status if there is no such command.
	ExitNotFound = 127
)

// ErrPrivilege is returned if the caller may not create the lab's namespaces or configure them.
var ErrPrivilege = errors.New("needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN)")

// Options says what happens in a lab.
type Options struct {
	// Setup runs as PID 1 of the lab, after its mounts and uplink are there and before the command. Optional.
	// If its error has a method ExitCode() int, Run returns that code instead of 1.
	Setup func() error
	// Command is the program and its arguments, looked up in PATH inside the lab.
	Command []string
	// Env is added to the caller's environment, as "KEY=value". Optional.
	Env []string
	// Stdin, Stdout and Stderr are the command's; nil stands for the caller's own. A file is handed over as it is.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Run runs opts.Command in a new lab and returns its exit status, 128+n if signal n ended it. When Run returns, nothing of
// the lab is left. An error means that there was no lab or that Setup failed; the command has not run then. If ctx ends,
// the command gets SIGTERM, and SIGKILL a moment later, and the error is that of ctx.
//
// Run re-executes the calling binary with the same arguments and the same working directory. The copy has to come to this
// Run, or to any other one (see IsInit): there it is the lab's PID 1, takes Setup from the options at hand and the command
// from the original caller, and never returns. So what a program does before Run, it does twice, the second time in the
// new namespaces before they are furnished.
func Run(ctx context.Context, opts Options) (int, error) {
	if IsInit() {
		runInit(opts.Setup)
	}
	if len(opts.Command) == 0 {
		return 1, errors.New("open lab: no command")
	}
	return runLab(ctx, opts)
}
