// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"flyover/control/datapath"
	"flyover/control/reconcile"
	"flyover/control/state"
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
	Name    string `json:"name"`
	Address string `json:"address"`
	// Addresses that the outside sees, IPv4's first; Address is the first of them.
	Addresses []string    `json:"addresses"`
	Hook      loader.Hook `json:"hook"`
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

// ErrNoEndpoint says that there is no endpoint of a name.
var ErrNoEndpoint = errors.New("no such endpoint (see `flyover status --all`)")

// Status looks at the host and changes nothing. If endpoint is not empty, it shows the endpoints alone that have this namespace, host
// interface or address, and the drift of what belongs to them; ErrNoEndpoint if none has.
func (h Host) Status(endpoint string) (*Status, error) {
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
	s.describe(owned)
	if endpoint != "" {
		if owned = s.only(endpoint, owned); len(owned) == 0 {
			return nil, fmt.Errorf("endpoint %q: %w", endpoint, ErrNoEndpoint)
		}
	}
	// Missing maps: no eBPF datapath, or one that a crash left half made, which the drift shows.
	if err := s.count(owned); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return s, s.compare(owned)
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
	endpoints := map[string]*EndpointStatus{}
	for _, n := range s.Networks {
		for i := range n.Endpoints {
			endpoints[n.Endpoints[i].HostInterface] = &n.Endpoints[i]
		}
	}
	for _, r := range owned {
		e, ok := r.(*datapath.Endpoint)
		if !ok || endpoints[e.Device] == nil {
			continue
		}
		t, err := pins.Traffic(e.Number)
		if err != nil {
			return err
		}
		endpoints[e.Device].Traffic = &t
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
