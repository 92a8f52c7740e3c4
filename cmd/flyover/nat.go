// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"flyover/control"
)

func newNAT() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "nat",
		Short: "Show and flush the translation to the outside",
		Long: `Shows what the eBPF datapath translates: sessions, mappings, whose an outside port is, and how full
everything is. Ports are in the order of the host; ICMP queries have their identifier in place of
ports.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newNATSessions(), newNATMappings(), newNATWho(), newNATStats(), newNATFlush())
	checkArgs(cmd)
	for _, c := range cmd.Commands() {
		checkArgs(c)
	}
	return cmd
}

// ofEndpoint is the flag that restricts to one endpoint.
type ofEndpoint struct{ endpoint string }

func (o *ofEndpoint) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.endpoint, "endpoint", "", "namespace, host interface or address (default: all)")
}

// natError says which command failed; an endpoint that is not there is the caller's mistake.
func natError(command string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("nat %s: %w", command, err)
	if errors.Is(err, control.ErrUnknownEndpoint) {
		return usageError{err}
	}
	return err
}

func newNATSessions() *cobra.Command {
	var out output
	var of ofEndpoint
	var remote string
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "List live sessions",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			remotes, err := parseRemote(remote)
			if err != nil {
				return err
			}
			h, err := host(cmd, "")
			if err != nil {
				return err
			}
			l, err := newListing(cmd.OutOrStdout(), out, sessionHeader, "no sessions")
			if err != nil {
				return err
			}
			err = h.TranslationSessions(of.endpoint, remotes, func(s control.SessionStatus) error {
				return l.add(s, func(w io.Writer) { printSession(w, s) })
			})
			return natError(cmd.Name(), l.end(err))
		},
	}
	of.flags(cmd)
	cmd.Flags().StringVar(&remote, "remote", "", "address, address:port or prefix (default: all)")
	out.flags(cmd)
	return cmd
}

func newNATMappings() *cobra.Command {
	var out output
	var of ofEndpoint
	cmd := &cobra.Command{
		Use:   "mappings",
		Short: "List outside ports that stand for an inside port, whatever the remote",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := host(cmd, "")
			if err != nil {
				return err
			}
			l, err := newListing(cmd.OutOrStdout(), out, mappingHeader, "no mappings")
			if err != nil {
				return err
			}
			err = h.TranslationMappings(of.endpoint, func(m control.MappingStatus) error {
				return l.add(m, func(w io.Writer) { printMapping(w, m) })
			})
			return natError(cmd.Name(), l.end(err))
		},
	}
	of.flags(cmd)
	out.flags(cmd)
	return cmd
}

func newNATWho() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:     "who [PROTOCOL/]PORT",
		Short:   "Say whose an outside port is; exit status 1 if it is nobody's",
		Example: "  flyover nat who 4711\n  flyover nat who udp/4711",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("give one outside port")
			}
			_, _, err := parsePort(args[0])
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			protocol, port, err := parsePort(args[0])
			if err != nil {
				return err
			}
			h, err := host(cmd, "")
			if err != nil {
				return err
			}
			owner, err := h.PortOwner(protocol, port)
			if err == nil && len(owner.Mappings)+len(owner.Sessions) == 0 {
				err = fmt.Errorf("outside port %s is nobody's", args[0])
			}
			if err != nil {
				return natError(cmd.Name(), err)
			}
			return out.print(cmd.OutOrStdout(), owner, func() { printOwner(cmd.OutOrStdout(), owner) })
		},
	}
	out.flags(cmd)
	return cmd
}

func newNATStats() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Show how full the tables are, who uses them, and what was refused",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := host(cmd, "")
			if err != nil {
				return err
			}
			s, err := h.TranslationStats()
			if err != nil {
				return natError(cmd.Name(), err)
			}
			return out.print(cmd.OutOrStdout(), s, func() { printStats(cmd.OutOrStdout(), s) })
		},
	}
	out.flags(cmd)
	return cmd
}

func newNATFlush() *cobra.Command {
	var of ofEndpoint
	cmd := &cobra.Command{
		Use:   "flush",
		Short: "End sessions and mappings",
		Long: `Ends all sessions and with them all mappings, or those of one endpoint. Flows that go on begin anew,
maybe with another outside port, which their remotes may not expect.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := host(cmd, "")
			if err != nil {
				return err
			}
			ended, err := h.FlushTranslation(of.endpoint)
			if err != nil {
				return natError(cmd.Name(), err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), "sessions ended:", ended)
			return nil
		},
	}
	of.flags(cmd)
	return cmd
}

// parseRemote reads an address, address:port or prefix; empty is every remote.
func parseRemote(text string) (control.Remotes, error) {
	if text == "" {
		return control.Remotes{}, nil
	}
	if prefix, err := netip.ParsePrefix(text); err == nil && !prefix.Addr().Is4In6() {
		return control.Remotes{Prefix: prefix.Masked()}, nil
	}
	if addr, err := netip.ParseAddr(text); err == nil && !addr.Is4In6() && addr.Zone() == "" {
		return control.Remotes{Prefix: netip.PrefixFrom(addr, addr.BitLen())}, nil
	}
	if ap, err := netip.ParseAddrPort(text); err == nil && !ap.Addr().Is4In6() && ap.Addr().Zone() == "" && ap.Port() != 0 {
		return control.Remotes{Prefix: netip.PrefixFrom(ap.Addr(), ap.Addr().BitLen()), Port: ap.Port()}, nil
	}
	return control.Remotes{}, usageError{fmt.Errorf(
		"remote %q is no address, address:port or prefix; write it like 203.0.113.1, 203.0.113.1:53, [2001:db8::1]:53 or 203.0.113.0/24", text)}
}

// parsePort reads PORT or PROTOCOL/PORT; the protocol is empty if there is none.
func parsePort(text string) (protocol string, port uint16, err error) {
	number := text
	if before, after, found := strings.Cut(text, "/"); found {
		protocol, number = before, after
		if !slices.Contains([]string{"tcp", "udp", "icmp", "icmpv6"}, protocol) {
			return "", 0, fmt.Errorf("protocol %q is unknown: give tcp, udp, icmp or icmpv6", protocol)
		}
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q is not a number from 0 to 65535", number)
	}
	return protocol, uint16(n), nil
}
