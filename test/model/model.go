// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"net/netip"
)

// MAC is an Ethernet address.
type MAC [6]byte

// Mapping is what an outside port stands for, and whom it lets in.
type Mapping int

// The kinds of mapping.
const (
	Dependent   Mapping = iota // one inside port towards one remote
	Independent                // one inside port; remote addresses that it has sent to may answer
	OpenFilter                 // one inside port; anybody may send to it
)

// Limits of each endpoint; 0 is none.
type Limits struct{ Sessions, Mappings, Rate, Burst, Broadcasts uint32 }

// Endpoint is a container of the masqueraded network, or of another.
type Endpoint struct {
	Addr        netip.Addr // IPv6: besides the link-local one that its MAC makes; invalid: none of either kind
	MAC         MAC
	Subnet      netip.Prefix // of its network
	Masqueraded bool
	Unguarded   bool // there may be stations behind it, which are not configured
}

// Host stands for the host itself where an endpoint's number is asked for; it has no limits.
const Host = 0

// Config is what the datapath was told: one masqueraded network behind one uplink, and of one address family, that of Outside.
type Config struct {
	Mapping    Mapping
	Limits     Limits
	Entries    int       // of the session table
	Range      [2]uint16 // outside ports, both included
	Subnet     netip.Prefix
	Gateway    netip.Addr // the host's address on the network
	GatewayMAC MAC
	Outside    netip.Addr // the host's address on the uplink
	UplinkMAC  MAC
	MTU        int
	Exempt     netip.Prefix     // destinations that see inside addresses. Optional.
	Isolated   bool             // nothing passes between networks
	Endpoints  map[int]Endpoint // by number
	// HostPorts are those of the host's own TCP and UDP sockets.
	HostPorts map[uint16]bool
	// Route is where the host would send a packet from inside.
	Route func(netip.Addr) Route
}

// Way is the kind of interface that a route leads to.
type Way int

// The ways of a route.
const (
	Nowhere Way = iota // there is no route, or it leads to the host itself
	Uplink
	Elsewhere // an interface that is no uplink
)

// Route is what the host's routing table says.
type Route struct {
	Way     Way
	NextHop netip.Addr
}

// Hook is where a packet is seen.
type Hook int

// The hooks.
const (
	FromEndpoint Hook = iota
	FromUplink
	ToUplink
)

// Came is where a packet that the host's stack sends to the uplink came from.
type Came int

// The ways to the stack.
const (
	OffBridge Came = iota
	FromHost
	FromElsewhere
)

// Time is when a packet was seen.
type Time struct {
	Seconds  uint32
	From, To uint32 // milliseconds: not before, not after
}

// Input is one packet.
type Input struct {
	Hook     Hook
	Endpoint int  // FromEndpoint: its number; 0 is an interface that is no endpoint's
	Came     Came // ToUplink
	Frame    []byte
	Time     Time
}

// Outcome is what becomes of a packet.
type Outcome struct {
	Reason string
	Frame  []byte // as it comes out; nil: nobody sees it
	To     int    // endpoint that received it by the fast path; 0: none
}

// Bucket is a token bucket as the datapath writes it down.
type Bucket struct{ At, Level uint32 }

// Buckets are an endpoint's: for new sessions, for refusals that it is told of, and for broadcasts.
type Buckets struct{ Sessions, Answers, Broadcasts Bucket }

// Oracle tells what the programs have chosen where they are free to.
type Oracle interface {
	// Port is the outside port of the session, 0 if it was refused.
	Port(SessionKey) uint16
	// Buckets are those of an endpoint after the packet.
	Buckets(endpoint int) Buckets
	// Meet says whether only one of two spaces can be remembered.
	Meet(a, b Space) bool
	// Exhausted says whether the space's last search in vain was remembered, and no other made.
	Exhausted(Space) bool
	// Collections is how often tokens have been looked at because something had run out, modulo 2^32.
	Collections() uint32
	// Identification is the new one of a datagram in fragments.
	Identification(DatagramKey) uint32
}

// Model is the state of the translation.
type Model struct {
	Config
	Tables
	// Faults are the choices that the programs were not free to make.
	Faults []string
	// Events is how often something has happened that no reason tells of.
	Events map[string]int
	// HeldBack is how many fragments have been told to wait.
	HeldBack int
	// Touched is what the last packet may have changed.
	Touched Touched

	oracle Oracle
	now    Time
	// pressed is how often tokens have been looked at because something had run out.
	pressed uint32
}

// New is a model with empty tables.
func New(c Config, o Oracle) *Model {
	return &Model{Config: c, Tables: newTables(), Events: map[string]int{}, oracle: o}
}

// Share lets m, which is of one family, have in common with other, of the other one, what counts for both.
func (m *Model) Share(other *Model) { m.Usage, m.InVain = other.Usage, other.InVain }

// Clone is a copy that shares nothing that changes.
func (m *Model) Clone() *Model {
	c := *m
	c.Tables = m.Tables.clone()
	return &c
}

// Receive takes a packet.
func (m *Model) Receive(in Input) Outcome {
	m.now, m.Faults, m.Touched = in.Time, nil, Touched{}
	p, wrong := parse(in.Frame)
	var out Outcome
	switch in.Hook {
	case FromEndpoint:
		out = m.fromEndpoint(p, wrong, in.Endpoint)
	case FromUplink:
		out = m.fromUplink(p, wrong)
	case ToUplink:
		out = m.toUplink(p, wrong, in.Came)
	}
	return out
}

func (m *Model) fault(format string, args ...any) {
	m.Faults = append(m.Faults, fmt.Sprintf(format, args...))
}

// stays is the outcome of a packet that is left as it came.
func stays(p *packet, reason string) Outcome { return Outcome{Reason: reason, Frame: p.frame} }

// inside says whether the address is one of the masqueraded network's.
func (m *Model) inside(a netip.Addr) bool { return m.Subnet.Contains(a) }

// hasSocket says whether a socket of the host has the port.
func (m *Model) hasSocket(proto uint8, port uint16) bool {
	return (proto == tcp || proto == udp) && m.HostPorts[port]
}
