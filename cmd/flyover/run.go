// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"flyover/control"
	"flyover/control/config"
	"flyover/control/reconcile"
	"flyover/loader"
	"flyover/test/lab"
)

// Exit statuses.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2   // wrong usage or configuration
	exitUnsupported = 3   // missing privilege or kernel feature
	exitInterrupted = 130 // ctrl-C in a lab, as a shell has it
)

// usageError is a mistake in the command line.
type usageError struct{ error }

// statusError is the exit status of a command that a lab ran; there is nothing to say about it.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// ExitCode implements what the lab asks of an error.
func (s statusError) ExitCode() int { return int(s) }

// run is the whole program: arguments in, exit status out. ctrl-C ends a run of up between two steps, which undoes it.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	cmd := newRoot()
	cmd.SetArgs(args)
	cmd.SetIn(stdin)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if status := statusError(0); errors.As(err, &status) {
		return int(status)
	}
	fmt.Fprintf(stderr, "flyover: %v\n", err)
	return exitStatus(err)
}

func exitStatus(err error) int {
	var problems config.Problems
	var usage usageError
	switch {
	case errors.As(err, &problems), errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, control.ErrPrivilege), errors.Is(err, lab.ErrPrivilege), errors.Is(err, ebpf.ErrNotSupported),
		errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.EROFS):
		return exitUnsupported
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "flyover",
		Short: "A host's container network, forwarded in TC eBPF",
		Long: `flyover builds networks of namespaces on this host and forwards their packets, answers their ARP
and masquerades them to the outside in TC eBPF. What it sets up stays when it has exited.

Exit status: 0 done, 1 failed (the host is as before), 2 wrong usage or configuration,
3 missing privilege or kernel feature.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see `%s --help`)", err, cmd.CommandPath())}
	})
	root.AddCommand(newUp(), newDown(), newPlan(), newStatus(), newNAT(), newLab(), newVersion())
	for _, c := range root.Commands() {
		if !c.HasSubCommands() { // those check their own
			checkArgs(c)
		}
	}
	root.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError{fmt.Errorf("unknown command %q (see `flyover --help`)", args[0])}
		}
		return nil
	}
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return root
}

// checkArgs makes what cobra says of arguments a usage error.
func checkArgs(c *cobra.Command) {
	check := c.Args
	if check == nil {
		return
	}
	c.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%w (see `%s --help`)", err, cmd.CommandPath())}
		}
		return nil
	}
}

// noArgs refuses arguments.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("argument %q is not expected", args[0])
	}
	return nil
}

// loadConfig reads the file, or the embedded default.
func loadConfig(file string) (*config.Config, error) {
	if file == "" {
		return config.Default()
	}
	cfg, err := config.Load(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, usageError{err}
	}
	return cfg, err
}

// host is this process's host as the flags and the environment describe it.
func host(cmd *cobra.Command, hook string) (control.Host, error) {
	if hook == "" {
		hook = os.Getenv("FLYOVER_HOOK")
	}
	switch loader.Hook(hook) {
	case "", "auto", loader.TCX, loader.Clsact:
	default:
		return control.Host{}, usageError{fmt.Errorf("hook %q is unknown: give tcx, clsact or auto", hook)}
	}
	return control.Host{
		Version: version,
		Hook:    hook,
		Done:    func(op reconcile.Op) { fmt.Fprintln(cmd.OutOrStdout(), op) },
		Warn:    func(text string) { fmt.Fprintln(cmd.ErrOrStderr(), "flyover: warning: "+text) },
	}, nil
}
