// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"flyover/control/datapath"
	"flyover/control/reconcile"
	"flyover/control/state"
	"flyover/control/topology"
	"flyover/loader"
)

// Errors that say why there is nothing to show of the translation.
var (
	ErrNotUp           = errors.New("nothing of flyover's is here (see `flyover up`)")
	ErrNoEBPF          = errors.New("no network has datapath: ebpf, so flyover translates nothing here")
	ErrUnknownEndpoint = errors.New("no such endpoint with datapath: ebpf (see `flyover status`)")
)

// SessionStatus is one element of `flyover nat sessions -o json`. The fields and their JSON names are stable. Ports are in the
// order of the host; an ICMP query has its identifier as inside and outside port, and 0 as remote port.
type SessionStatus struct {
	// Protocol is tcp, udp, icmp or icmpv6.
	Protocol      string     `json:"protocol"`
	InsideAddress netip.Addr `json:"inside_address"`
	InsidePort    uint16     `json:"inside_port"`
	// Endpoint is the namespace; empty for the host itself.
	Endpoint       string     `json:"endpoint"`
	OutsideAddress netip.Addr `json:"outside_address"`
	OutsidePort    uint16     `json:"outside_port"`
	RemoteAddress  netip.Addr `json:"remote_address"`
	RemotePort     uint16     `json:"remote_port"`
	// State is as in enum session_state of lib/tcp.h, in lower case. Of all but tcp it is established.
	State string `json:"state"`
	// IdleSeconds ago the last packet from inside came; after LeftSeconds more the session expires.
	IdleSeconds int `json:"idle_seconds"`
	LeftSeconds int `json:"left_seconds"`
}

// MappingStatus is one element of `flyover nat mappings -o json`, as SessionStatus.
type MappingStatus struct {
	Protocol       string     `json:"protocol"`
	InsideAddress  netip.Addr `json:"inside_address"`
	InsidePort     uint16     `json:"inside_port"`
	Endpoint       string     `json:"endpoint"`
	OutsideAddress netip.Addr `json:"outside_address"`
	OutsidePort    uint16     `json:"outside_port"`
	// Sessions that use it, those included that have expired and have not been collected.
	Sessions uint32 `json:"sessions"`
}

// OwnerStatus is `flyover nat who -o json`: whose an outside port is.
type OwnerStatus struct {
	Mappings []MappingStatus `json:"mappings"`
	// Sessions that have the port for themselves: those of networks with mapping: endpoint-dependent.
	Sessions []SessionStatus `json:"sessions"`
}

// Remotes are remote ends to select sessions by.
type Remotes struct {
	// Prefix that the address is in. The zero prefix has every address.
	Prefix netip.Prefix
	// Port; 0 is any.
	Port uint16
}

func (r Remotes) have(remote netip.AddrPort) bool {
	return (r.Prefix == netip.Prefix{} || r.Prefix.Contains(remote.Addr())) && (r.Port == 0 || r.Port == remote.Port())
}

// TranslationSessions calls visit for each live session, in no order, with as little memory for a million as for one. Endpoint is
// the namespace, host interface or address of an endpoint, or empty for all.
func (h Host) TranslationSessions(endpoint string, remotes Remotes, visit func(SessionStatus) error) error {
	in, err := lookInside(endpoint)
	if err != nil {
		return err
	}
	return in.pins.EachSession(func(s loader.Session) error {
		if s.Left < 0 || !in.chosen(s.Inside.Addr()) || !remotes.have(s.Remote) {
			return nil
		}
		return visit(in.session(s))
	})
}

// TranslationMappings is TranslationSessions for mappings.
func (h Host) TranslationMappings(endpoint string, visit func(MappingStatus) error) error {
	in, err := lookInside(endpoint)
	if err != nil {
		return err
	}
	return in.pins.EachMapping(func(m loader.Mapping) error {
		if !in.chosen(m.Inside.Addr()) {
			return nil
		}
		return visit(in.mapping(m))
	})
}

// PortOwner finds out whose an outside port is, of one protocol or, if that is empty, of any.
func (h Host) PortOwner(protocol string, port uint16) (*OwnerStatus, error) {
	in, err := lookInside("")
	if err != nil {
		return nil, err
	}
	is := func(proto uint8, outside netip.AddrPort) bool {
		return outside.Port() == port && (protocol == "" || protocol == protocolName(proto))
	}
	o := &OwnerStatus{Mappings: []MappingStatus{}, Sessions: []SessionStatus{}}
	err = in.pins.EachMapping(func(m loader.Mapping) error {
		if is(m.Proto, m.Outside) {
			o.Mappings = append(o.Mappings, in.mapping(m))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return o, in.pins.EachSession(func(s loader.Session) error {
		if !s.Mapped && s.Left >= 0 && is(s.Proto, s.Outside) {
			o.Sessions = append(o.Sessions, in.session(s))
		}
		return nil
	})
}

// FlushTranslation ends all sessions and with them their mappings, or those of one endpoint, and returns how many were live.
func (h Host) FlushTranslation(endpoint string) (live int, err error) {
	store, owned, err := h.open()
	if err != nil {
		return 0, err
	}
	defer store.Close()
	in, err := insideOf(owned, endpoint)
	if err != nil {
		return 0, err
	}
	if in.choice == nil {
		return in.pins.EndAllSessions()
	}
	for addr := range in.choice {
		ended, err := in.pins.EndSessions(addr)
		live += ended
		if err != nil {
			return live, err
		}
	}
	return live, nil
}

// inside is who is behind the addresses that are translated.
type inside struct {
	pins  loader.Pins
	owned []reconcile.Resource
	// endpoints by address, of networks with datapath: ebpf.
	endpoints map[netip.Addr]insideEndpoint
	// choice are the addresses asked for; nil is all.
	choice map[netip.Addr]bool
}

type insideEndpoint struct {
	*datapath.Endpoint
	namespace string
}

// lookInside is insideOf what is up.
func lookInside(endpoint string) (*inside, error) {
	if os.Geteuid() != 0 {
		return nil, ErrPrivilege
	}
	owned, err := state.Read(state.Dir, decode)
	if err != nil {
		return nil, err
	}
	return insideOf(owned, endpoint)
}

func insideOf(owned []reconcile.Resource, endpoint string) (*inside, error) {
	if len(owned) == 0 {
		return nil, ErrNotUp
	}
	in := &inside{pins: loader.NewPins(loader.BPFFS), owned: owned, endpoints: map[netip.Addr]insideEndpoint{}}
	namespaces := map[string]string{} // by host interface
	loaded := false
	for _, r := range owned {
		switch r := r.(type) {
		case topology.Veth:
			namespaces[r.Host] = r.Namespace
		case *datapath.Endpoint:
			for _, a := range []netip.Addr{r.Address, r.Address6} {
				if a.IsValid() {
					in.endpoints[a] = insideEndpoint{Endpoint: r}
				}
			}
		case *datapath.Programs:
			loaded = true
		}
	}
	if !loaded {
		return nil, ErrNoEBPF
	}
	for addr, e := range in.endpoints {
		e.namespace = namespaces[e.Device]
		in.endpoints[addr] = e
	}
	return in, in.choose(endpoint)
}

// choose restricts what is shown to the endpoints with this namespace, host interface or address.
func (in *inside) choose(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	in.choice = map[netip.Addr]bool{}
	for addr, e := range in.endpoints {
		if endpoint == e.namespace || endpoint == e.Device || endpoint == addr.String() {
			in.choice[addr] = true
		}
	}
	if len(in.choice) == 0 {
		return fmt.Errorf("endpoint %q: %w", endpoint, ErrUnknownEndpoint)
	}
	return nil
}

func (in *inside) chosen(addr netip.Addr) bool { return in.choice == nil || in.choice[addr] }

func (in *inside) session(s loader.Session) SessionStatus {
	return SessionStatus{
		Protocol:       protocolName(s.Proto),
		InsideAddress:  s.Inside.Addr(),
		InsidePort:     s.Inside.Port(),
		Endpoint:       in.endpoints[s.Inside.Addr()].namespace,
		OutsideAddress: s.Outside.Addr(),
		OutsidePort:    s.Outside.Port(),
		RemoteAddress:  s.Remote.Addr(),
		RemotePort:     s.Remote.Port(),
		State:          s.State.String(),
		IdleSeconds:    s.Idle,
		LeftSeconds:    s.Left,
	}
}

func (in *inside) mapping(m loader.Mapping) MappingStatus {
	return MappingStatus{
		Protocol:       protocolName(m.Proto),
		InsideAddress:  m.Inside.Addr(),
		InsidePort:     m.Inside.Port(),
		Endpoint:       in.endpoints[m.Inside.Addr()].namespace,
		OutsideAddress: m.Outside.Addr(),
		OutsidePort:    m.Outside.Port(),
		Sessions:       m.Sessions,
	}
}

func protocolName(proto uint8) string {
	switch proto {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_ICMP:
		return "icmp"
	case unix.IPPROTO_ICMPV6:
		return "icmpv6"
	}
	return fmt.Sprint(proto)
}
