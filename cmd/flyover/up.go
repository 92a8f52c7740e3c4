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
	var onlyChanges bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Make the host as the configuration says",
		Long: `Makes the host as the configuration says: creates what is missing, changes what differs, removes what
flyover made and the configuration no longer asks for. A second run changes nothing. If anything
fails, what this run did is undone.

With --only-changes it takes the host for what the last run left, and looks only at what the
configuration has changed since: that is faster where there are many endpoints, and mends nothing
where nothing was changed. When something is changed or removed, it looks at everything afterwards.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, cfg, err := f.read(cmd)
			if err != nil {
				return err
			}
			h.OnlyChanges = onlyChanges
			unseen := 0
			h.Unseen = func(n int) { unseen = n }
			done, err := h.Up(cmd.Context(), cfg)
			if err != nil {
				return fmt.Errorf("up: %w", err)
			}
			switch {
			case unseen > 0:
				fmt.Fprintf(cmd.OutOrStdout(), "not looked at: %d objects that are configured as before; `flyover status` looks at them\n", unseen)
			case len(done) == 0:
				fmt.Fprintln(cmd.OutOrStdout(), "nothing to do: the host is as configured")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&onlyChanges, "only-changes", false, "look only at what the configuration has changed since the last run")
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
