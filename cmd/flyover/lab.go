// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"flyover/control/config"
	"flyover/test/lab"
)

// inLab are the flags of the lab commands.
type inLab struct {
	fromFile
	datapath string
	bare     bool
}

func newLab() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Try things in a throw-away host",
		Long: `A lab is a throw-away host in private namespaces, with an uplink to a simulated outside: the host has
203.0.113.2/24 and 2001:db8:ffff::2/64 on eth0, namespace "outside" has 203.0.113.1/24 and
2001:db8:ffff::1/64. The network is up in it. When the command ends, everything is gone; the real
host is never touched.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	checkArgs(cmd)
	cmd.AddCommand(newLabRun(), newLabShell())
	return cmd
}

func newLabRun() *cobra.Command {
	var l inLab
	cmd := &cobra.Command{
		Use:     "run [flags] -- COMMAND [ARG...]",
		Short:   "Run a command in a lab and pass its exit status on",
		Example: "  flyover lab run -- ip netns exec ns1 ping -c 3 192.168.15.2",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("no command given")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return l.run(cmd, args) },
	}
	checkArgs(cmd)
	l.flags(cmd)
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func newLabShell() *cobra.Command {
	var l inLab
	cmd := &cobra.Command{
		Use:   "shell",
		Short: "Open a shell in a lab",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			shell := os.Getenv("SHELL")
			if shell == "" {
				shell = "/bin/sh"
			}
			return l.run(cmd, []string{shell})
		},
	}
	checkArgs(cmd)
	l.flags(cmd)
	return cmd
}

func (l *inLab) flags(cmd *cobra.Command) {
	l.fromFile.flags(cmd)
	cmd.Flags().StringVar(&l.datapath, "datapath", "", "ebpf or kernel, for all networks (default: as configured)")
	cmd.Flags().BoolVar(&l.bare, "bare", false, "leave the network down")
}

// run reads the configuration before there is a lab: its mistakes are the caller's, and the lab sees the same files.
func (l *inLab) run(cmd *cobra.Command, command []string) error {
	cfg, err := l.config()
	if err != nil {
		return err
	}
	status, err := lab.Run(cmd.Context(), lab.Options{Command: command, Setup: func() error { return l.up(cmd, cfg) }})
	if cmd.Context().Err() != nil {
		return statusError(exitInterrupted)
	}
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	if status != 0 {
		return statusError(status)
	}
	return nil
}

func (l *inLab) config() (*config.Config, error) {
	cfg, err := loadConfig(l.file)
	if err != nil {
		return nil, err
	}
	switch d := config.Datapath(l.datapath); d {
	case "":
	case config.EBPF, config.Kernel:
		for i := range cfg.Networks {
			cfg.Networks[i].Datapath = d
		}
	default:
		return nil, usageError{fmt.Errorf("datapath %q is unknown: give ebpf or kernel", d)}
	}
	return cfg, nil
}

func (l *inLab) up(cmd *cobra.Command, cfg *config.Config) error {
	if l.bare {
		return nil
	}
	h, err := host(cmd, l.hook)
	if err != nil {
		return err
	}
	h.Done = nil // the command's output is what the caller wants
	if _, err := h.Up(context.Background(), cfg); err != nil {
		return setupError{fmt.Errorf("up: %w", err)}
	}
	return nil
}

// setupError carries the exit status of a failed up out of the lab.
type setupError struct{ error }

// ExitCode implements what the lab asks of an error.
func (e setupError) ExitCode() int { return exitStatus(e.error) }
