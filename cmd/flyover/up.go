// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"flyover/control"
	"flyover/control/config"
	"flyover/control/reconcile"
)

// fromFile are the flags of commands that read a configuration.
type fromFile struct {
	file string
	hook string
}

func (f *fromFile) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.file, "file", "f", "", "configuration; without it the tutorial's network")
	cmd.Flags().StringVar(&f.hook, "hook", "", "tcx, clsact or auto (default auto; also FLYOVER_HOOK)")
}

// read returns the configuration and the host that it is for.
func (f *fromFile) read(cmd *cobra.Command) (control.Host, *config.Config, error) {
	cfg, err := loadConfig(f.file)
	if err != nil {
		return control.Host{}, nil, err
	}
	h, err := host(cmd, f.hook)
	return h, cfg, err
}

func newUp() *cobra.Command {
	var f fromFile
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Make the host as the configuration says",
		Long: `Makes the host as the configuration says: creates what is missing, changes what differs, removes what
flyover made and the configuration no longer asks for. A second run changes nothing. If anything
fails, what this run did is undone.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, cfg, err := f.read(cmd)
			if err != nil {
				return err
			}
			done, err := h.Up(cmd.Context(), cfg)
			if err != nil {
				return fmt.Errorf("up: %w", err)
			}
			if len(done) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing to do: the host is as configured")
			}
			return nil
		},
	}
	f.flags(cmd)
	return cmd
}

func newDown() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove what flyover made, and only that",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := host(cmd, "")
			if err != nil {
				return err
			}
			done, err := h.Down()
			if err != nil {
				return fmt.Errorf("down: %w", err)
			}
			if len(done) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing to do: nothing of flyover's is here")
			}
			return nil
		},
	}
}

func newPlan() *cobra.Command {
	var f fromFile
	var out output
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Print what `up` would do, and do nothing",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, cfg, err := f.read(cmd)
			if err != nil {
				return err
			}
			plan, err := h.Plan(cfg)
			if err != nil {
				return fmt.Errorf("plan: %w", err)
			}
			return out.print(cmd.OutOrStdout(), planDocument(plan), func() {
				fmt.Fprint(cmd.OutOrStdout(), plan)
				if len(plan) == 0 {
					fmt.Fprintln(cmd.OutOrStdout(), "nothing to do: the host is as configured")
				}
			})
		},
	}
	f.flags(cmd)
	out.flags(cmd)
	return cmd
}

// planStep is one element of `plan -o json`. The fields are stable.
type planStep struct {
	Action string `json:"action"` // create, update, remove
	Kind   string `json:"kind"`
	Object string `json:"object"`
	Detail string `json:"detail"`
}

func planDocument(plan reconcile.Plan) []planStep {
	steps := []planStep{}
	for _, op := range plan {
		steps = append(steps, planStep{op.Action.String(), op.Resource.Kind(), op.Resource.ID(), op.Detail})
	}
	return steps
}
