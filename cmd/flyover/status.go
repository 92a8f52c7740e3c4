// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"flyover/control"
	"flyover/loader"
)

// fewEndpoints are as many of a network as are listed without being asked for.
const fewEndpoints = 20

func newStatus() *cobra.Command {
	var out output
	var endpoint string
	var all bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show networks, endpoints, uplinks, counters and drift",
		Long: fmt.Sprintf(`Shows networks, endpoints, uplinks, counters and drift. Of each network the first %d endpoints are listed;
JSON has them all.`, fewEndpoints),
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := host(cmd, "")
			if err != nil {
				return err
			}
			s, err := h.Status(endpoint)
			if err != nil {
				return fmt.Errorf("status: %w", err)
			}
			few := fewEndpoints
			if all || endpoint != "" {
				few = math.MaxInt
			}
			return out.print(cmd.OutOrStdout(), s, func() { printStatus(cmd.OutOrStdout(), s, few) })
		},
	}
	cmd.Flags().StringVar(&endpoint, "endpoint", "", "show only this `endpoint`: a namespace, a host interface or an address")
	cmd.Flags().BoolVar(&all, "all", false, "list all endpoints")
	out.flags(cmd)
	return cmd
}

func printStatus(out io.Writer, s *control.Status, few int) {
	if !s.Up {
		fmt.Fprintln(out, "nothing of flyover's is here")
		return
	}
	w := newTable(out)
	defer w.Flush()
	for _, n := range s.Networks {
		printNetwork(w, n, few)
	}
	for _, u := range s.Uplinks {
		fmt.Fprintf(w, "uplink %s\t%s\thook %s\t%s\n", u.Name, strings.Join(u.Addresses, ","), u.Hook, outsidePorts(u))
	}
	if s.Sessions != nil {
		fmt.Fprintf(w, "sessions\t%d live\t%d entries used, of %d for each address family\n", s.Sessions.Live, s.Sessions.Entries, s.Sessions.Capacity)
	}
	if len(s.Reasons) > 0 {
		fmt.Fprint(w, "\nPROGRAM\tREASON\tPACKETS\tBYTES\n")
		for _, r := range s.Reasons {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\n", r.Program, r.Reason, r.Packets, r.Bytes)
		}
	}
	printDrift(w, s.Drift)
}

func outsidePorts(u control.UplinkStatus) string {
	if u.PortLast == 0 {
		return "no network is masqueraded"
	}
	return fmt.Sprintf("outside ports %d-%d", u.PortFirst, u.PortLast)
}

func printNetwork(w io.Writer, n control.NetworkStatus, few int) {
	fmt.Fprintf(w, "network %s\tdatapath %s\tgateway %s\tmtu %d\n", n.Name, n.Datapath, strings.Join(n.Gateways, ","), n.MTU)
	if len(n.Endpoints) == 0 {
		return
	}
	fmt.Fprint(w, "  NAMESPACE\tINTERFACE\tHOST\tADDRESS\tMAC\tSENT\tRECEIVED\tDROPPED\n")
	for i, e := range n.Endpoints {
		if i == few {
			fmt.Fprintf(w, "  and %d more: see them with --all, or one with --endpoint\n", len(n.Endpoints)-few)
			return
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s", e.Namespace, e.Interface, e.HostInterface, strings.Join(e.Addresses, ","), e.MAC)
		if e.Traffic == nil {
			fmt.Fprint(w, "\t-\t-\t-\n")
			continue
		}
		for _, t := range []loader.Tally{e.Traffic.Sent, e.Traffic.Received, e.Traffic.Dropped} {
			fmt.Fprintf(w, "\t%d", t.Packets)
		}
		fmt.Fprintln(w)
	}
}

func printDrift(w io.Writer, drift []control.DriftStatus) {
	if len(drift) == 0 {
		return
	}
	fmt.Fprint(w, "\nnot as `flyover up` left it (run it again with its configuration to mend):\n")
	for _, d := range drift {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", d.Object, d.Status, d.Detail)
	}
}
