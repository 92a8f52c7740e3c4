// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"flyover/control/datapath"
	"flyover/control/reconcile"
	"flyover/control/state"
	"flyover/control/topology"
	"flyover/loader"
)

// Status is what `flyover status` shows. The fields and their JSON names are stable.
type Status struct {
	// Up says that flyover has made something on this host.
	Up       bool            `json:"up"`
	Networks []NetworkStatus `json:"networks"`
	Uplinks  []UplinkStatus  `json:"uplinks"`
	// Reasons is what the programs did with packets and why, most packets first.
	Reasons []ReasonStatus `json:"reasons"`
	// Sessions is null without an eBPF datapath.
	Sessions *loader.Sessions `json:"sessions"`
	// Drift lists what is not as the last `up` left it.
	Drift []DriftStatus `json:"drift"`
}

// NetworkStatus is one network.
type NetworkStatus struct {
	Name     string `json:"name"`
	Datapath string `json:"datapath"`
	// Gateway with the length of its subnet; the first of Gateways.
	Gateway string `json:"gateway"`
	// Gateways, one of each address family, IPv4 first.
	Gateways  []string         `json:"gateways"`
	MTU       int              `json:"mtu"`
	Endpoints []EndpointStatus `json:"endpoints"`
}

// EndpointStatus is one endpoint.
type EndpointStatus struct {
	Namespace     string `json:"namespace"`
	Interface     string `json:"interface"`
	HostInterface string `json:"host_interface"`
	// Address with the length of its subnet; the first of Addresses.
	Address string `json:"address"`
	// Addresses, one of each address family, IPv4 first.
	Addresses []string `json:"addresses"`
	MAC       string   `json:"mac"`
	// Traffic is null with the kernel datapath.
	Traffic *loader.Traffic `json:"traffic"`
}

// UplinkStatus is one uplink of the eBPF datapath.
type UplinkStatus struct {
	Name    string      `json:"name"`
	Address string      `json:"address"`
	Hook    loader.Hook `json:"hook"`
	// PortFirst and PortLast bound the outside ports.
	PortFirst uint16 `json:"port_first"`
	PortLast  uint16 `json:"port_last"`
}

// ReasonStatus is one counter.
type ReasonStatus struct {
	Program loader.Point `json:"program"`
	Reason  string       `json:"reason"`
	loader.Tally
}

// DriftStatus is one object that differs.
type DriftStatus struct {
	Object string `json:"object"`
	Status string `json:"status"`
	Detail string `json:"detail"`
}

// Status looks at the host and changes nothing.
func (h Host) Status() (*Status, error) {
	if os.Geteuid() != 0 {
		return nil, ErrPrivilege
	}
	owned, err := state.Read(state.Dir, decode)
	if err != nil {
		return nil, err
	}
	s := &Status{
		Up: len(owned) > 0, Networks: []NetworkStatus{}, Uplinks: []UplinkStatus{}, Reasons: []ReasonStatus{}, Drift: []DriftStatus{},
	}
	s.Networks, s.Uplinks = describe(owned, s.Networks, s.Uplinks)
	// Missing maps: no eBPF datapath, or one that a crash left half made, which the drift shows.
	if err := s.count(owned); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return s, s.compare(owned)
}

// describe turns the flat list of objects into networks with their endpoints.
func describe(owned []reconcile.Resource, nets []NetworkStatus, uplinks []UplinkStatus) ([]NetworkStatus, []UplinkStatus) {
	hooks := map[string]loader.Hook{}
	for _, r := range owned {
		switch r := r.(type) {
		case topology.Bridge:
			nets = append(nets, NetworkStatus{
				Name: r.Name, Datapath: "kernel", Gateways: []string{}, MTU: r.MTU, Endpoints: []EndpointStatus{},
			})
		case *datapath.Network:
			network(nets, r.Name).Datapath = "ebpf"
		case topology.Veth:
			n := network(nets, r.Bridge)
			n.Endpoints = append(n.Endpoints, EndpointStatus{
				Namespace: r.Namespace, Interface: r.Interface, HostInterface: r.Host, Addresses: []string{}, MAC: r.MAC.String(),
			})
		case topology.Address:
			describeAddress(nets, r)
		case *datapath.Uplink:
			uplinks = append(uplinks, UplinkStatus{Name: r.Device, Address: r.Address.String(), PortFirst: r.PortFirst, PortLast: r.PortLast})
		case *datapath.Attachment:
			hooks[r.Device] = r.Hook
		}
	}
	for i := range uplinks {
		uplinks[i].Hook = hooks[uplinks[i].Name]
	}
	return nets, uplinks
}

func describeAddress(nets []NetworkStatus, a topology.Address) {
	if a.Namespace == "" {
		n := network(nets, a.Device)
		n.Gateways = append(n.Gateways, a.Prefix.String())
		n.Gateway = n.Gateways[0]
		return
	}
	for i := range nets {
		for j := range nets[i].Endpoints {
			e := &nets[i].Endpoints[j]
			if e.Namespace == a.Namespace && e.Interface == a.Device {
				e.Addresses = append(e.Addresses, a.Prefix.String())
				e.Address = e.Addresses[0]
			}
		}
	}
}

// network finds a network by name. The state lists a bridge before what belongs to it, so it is there; a state written by hand
// gets an entry that nobody shows.
func network(nets []NetworkStatus, name string) *NetworkStatus {
	for i := range nets {
		if nets[i].Name == name {
			return &nets[i]
		}
	}
	return new(NetworkStatus)
}

// count adds the counters of the eBPF datapath, if there is one.
func (s *Status) count(owned []reconcile.Resource) error {
	pins := loader.NewPins(loader.BPFFS)
	reasons, err := pins.Reasons()
	if err != nil {
		return err
	}
	for at, counts := range reasons {
		for reason, tally := range counts {
			s.Reasons = append(s.Reasons, ReasonStatus{Program: at, Reason: reason.String(), Tally: tally})
		}
	}
	slices.SortFunc(s.Reasons, func(a, b ReasonStatus) int {
		if a.Packets != b.Packets {
			return int(int64(b.Packets) - int64(a.Packets))
		}
		return strings.Compare(string(a.Program)+a.Reason, string(b.Program)+b.Reason)
	})
	sessions, err := pins.Sessions()
	if err != nil {
		return err
	}
	s.Sessions = &sessions
	return s.countEndpoints(pins, owned)
}

func (s *Status) countEndpoints(pins loader.Pins, owned []reconcile.Resource) error {
	for _, r := range owned {
		e, ok := r.(*datapath.Endpoint)
		if !ok {
			continue
		}
		t, err := pins.Traffic(e.Number)
		if err != nil {
			return err
		}
		for i := range s.Networks {
			for j := range s.Networks[i].Endpoints {
				if s.Networks[i].Endpoints[j].HostInterface == e.Device {
					s.Networks[i].Endpoints[j].Traffic = &t
				}
			}
		}
	}
	return nil
}

// compare lists what is not as the last up left it.
func (s *Status) compare(owned []reconcile.Resource) error {
	observed, err := reconcile.Observe(nil, owned)
	if err != nil {
		return err
	}
	for _, r := range owned {
		o := observed[reconcile.Name(r)]
		if o.Status != reconcile.Same {
			s.Drift = append(s.Drift, DriftStatus{Object: reconcile.Name(r), Status: o.Status.String(), Detail: o.Detail})
		}
	}
	return nil
}
