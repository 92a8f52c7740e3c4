// SPDX-License-Identifier: Apache-2.0

package control

import (
	"cmp"
	"net/netip"

	"flyover/bpf"
	"flyover/control/datapath"
	"flyover/loader"
)

// TranslationStats is `flyover nat stats -o json`. The fields and their JSON names are stable.
type TranslationStats struct {
	Sessions loader.Sessions `json:"sessions"`
	Mappings MappingsStatus  `json:"mappings"`
	// Refusals are sessions that were not made, by the reason; every reason is listed.
	Refusals []RefusalStatus `json:"refusals"`
	// Endpoints in the order of the configuration.
	Endpoints []UsageStatus `json:"endpoints"`
	// BusiestRemote is the remote with most outside ports in use; null if there is no session.
	BusiestRemote *RemoteStatus `json:"busiest_remote"`
}

// MappingsStatus is how full the table of mappings is.
type MappingsStatus struct {
	Entries uint32 `json:"entries"`
	// Capacity of each address family's table.
	Capacity uint32 `json:"capacity"`
}

// RefusalStatus is one reason for which packets found no session.
type RefusalStatus struct {
	Reason  string `json:"reason"`
	Packets uint64 `json:"packets"`
}

// UsageStatus is what an endpoint has taken of the translation, and the most that it may take. A limit of 0 is none.
type UsageStatus struct {
	Namespace     string `json:"namespace"`
	HostInterface string `json:"host_interface"`
	// Address is its IPv4 address, or IPv6's if it has none.
	Address netip.Addr `json:"address"`
	loader.Usage
	SessionsLimit uint32 `json:"sessions_limit"`
	MappingsLimit uint32 `json:"mappings_limit"`
	// RateLimit of new sessions, a second, and BurstLimit at once.
	RateLimit  uint32 `json:"rate_limit"`
	BurstLimit uint32 `json:"burst_limit"`
}

// RemoteStatus is one remote, to which each outside port can be used once.
type RemoteStatus struct {
	Protocol       string     `json:"protocol"`
	OutsideAddress netip.Addr `json:"outside_address"`
	RemoteAddress  netip.Addr `json:"remote_address"`
	// RemotePort is 0 for ICMP queries.
	RemotePort uint16 `json:"remote_port"`
	// Ports in use, of PortsTotal from the first to the last port of all networks. 0: the address is no uplink's any more.
	Ports      int `json:"ports"`
	PortsTotal int `json:"ports_total"`
}

// refusals are the reasons for which a session is not made.
var refusals = []bpf.DatapathReason{
	bpf.DatapathReasonDROP_NO_PORT,
	bpf.DatapathReasonDROP_SESSIONS_FULL,
	bpf.DatapathReasonDROP_SESSION_RACE,
	bpf.DatapathReasonDROP_LIMIT_RATE,
	bpf.DatapathReasonDROP_LIMIT_SESSIONS,
	bpf.DatapathReasonDROP_LIMIT_MAPPINGS,
}

// TranslationStats looks at the translation and changes nothing.
func (h Host) TranslationStats() (*TranslationStats, error) {
	in, err := lookInside("")
	if err != nil {
		return nil, err
	}
	s := new(TranslationStats)
	if s.Sessions, err = in.pins.Sessions(); err != nil {
		return nil, err
	}
	if s.Mappings.Entries, s.Mappings.Capacity, err = in.pins.Mappings(); err != nil {
		return nil, err
	}
	if s.Refusals, err = in.refusals(); err != nil {
		return nil, err
	}
	if s.Endpoints, err = in.usage(); err != nil {
		return nil, err
	}
	s.BusiestRemote, err = in.busiestRemote()
	return s, err
}

func (in *inside) refusals() ([]RefusalStatus, error) {
	counted, err := in.pins.Reasons()
	if err != nil {
		return nil, err
	}
	var list []RefusalStatus
	for _, reason := range refusals {
		r := RefusalStatus{Reason: reason.String()}
		for _, at := range loader.Points() {
			r.Packets += counted[at][reason].Packets
		}
		list = append(list, r)
	}
	return list, nil
}

func (in *inside) usage() ([]UsageStatus, error) {
	list := []UsageStatus{}
	for _, r := range in.owned {
		e, ok := r.(*datapath.Endpoint)
		if !ok {
			continue
		}
		used, err := in.pins.Usage(e.Number)
		if err != nil {
			return nil, err
		}
		addr := e.Address
		if !addr.IsValid() {
			addr = e.Address6
		}
		list = append(list, UsageStatus{
			Namespace: in.endpoints[addr].namespace, HostInterface: e.Device, Address: addr, Usage: used,
			SessionsLimit: e.Limits.Sessions, MappingsLimit: e.Limits.Mappings,
			RateLimit: e.Limits.Rate, BurstLimit: e.Limits.Burst,
		})
	}
	return list, nil
}

// remoteKey is where one outside port can be used once.
type remoteKey struct {
	proto   uint8
	outside netip.Addr
	remote  netip.AddrPort
}

// busiestRemote counts by remote, which takes memory for as many as there are. Two sessions to one remote never share a port.
func (in *inside) busiestRemote() (*RemoteStatus, error) {
	ports := map[remoteKey]int{}
	err := in.pins.EachSession(func(s loader.Session) error {
		ports[remoteKey{s.Proto, s.Outside.Addr(), s.Remote}]++
		return nil
	})
	if err != nil || len(ports) == 0 {
		return nil, err
	}
	var most remoteKey
	for k, n := range ports {
		if n > ports[most] || n == ports[most] && compareRemotes(k, most) < 0 {
			most = k
		}
	}
	return &RemoteStatus{
		Protocol: protocolName(most.proto), OutsideAddress: most.outside,
		RemoteAddress: most.remote.Addr(), RemotePort: most.remote.Port(),
		Ports: ports[most], PortsTotal: in.portsAt(most.outside),
	}, nil
}

// compareRemotes lets one of several be shown each time.
func compareRemotes(a, b remoteKey) int {
	return cmp.Or(cmp.Compare(a.proto, b.proto), a.outside.Compare(b.outside), a.remote.Compare(b.remote))
}

// portsAt is how many outside ports an address has.
func (in *inside) portsAt(outside netip.Addr) int {
	for _, r := range in.owned {
		if u, ok := r.(*datapath.Uplink); ok && (u.Address == outside || u.Address6 == outside) && u.PortLast > 0 {
			return int(u.PortLast) - int(u.PortFirst) + 1
		}
	}
	return 0
}
