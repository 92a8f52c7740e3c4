// SPDX-License-Identifier: Apache-2.0

package control

import (
	"net/netip"
	"slices"
	"strings"

	"flyover/control/datapath"
	"flyover/control/reconcile"
	"flyover/control/topology"
	"flyover/loader"
)

// innerEnd names the interface of an endpoint.
type innerEnd struct{ namespace, name string }

// describe turns the flat list of objects into networks with their endpoints. The state lists a bridge before what belongs to it;
// what belongs to none is left out.
func (s *Status) describe(owned []reconcile.Resource) {
	networks, endpoints := map[string]*NetworkStatus{}, map[innerEnd]*EndpointStatus{}
	hooks := map[string]loader.Hook{}
	var names []string
	members := map[string][]*EndpointStatus{}
	networkOf := map[string]string{} // by any of its bridges
	for _, r := range owned {
		switch r := r.(type) {
		case topology.Bridge:
			networkOf[r.Name] = r.Network
			if r.Shard {
				continue
			}
			networks[r.Name] = &NetworkStatus{
				Name: r.Name, Datapath: "kernel", Gateways: []string{}, MTU: r.MTU, Endpoints: []EndpointStatus{},
			}
			names = append(names, r.Name)
		case *datapath.Network:
			if n := networks[r.Name]; n != nil {
				n.Datapath = "ebpf"
			}
		case topology.Veth:
			e := &EndpointStatus{
				Namespace: r.Namespace, Interface: r.Interface, HostInterface: r.Host, Addresses: []string{}, MAC: r.MAC.String(),
			}
			endpoints[innerEnd{r.Namespace, r.Interface}] = e
			members[networkOf[r.Bridge]] = append(members[networkOf[r.Bridge]], e)
		case topology.Address:
			if n := networks[r.Device]; n != nil && r.Namespace == "" {
				n.Gateways = append(n.Gateways, r.Prefix.String())
				n.Gateway = n.Gateways[0]
			}
			if e := endpoints[innerEnd{r.Namespace, r.Device}]; e != nil {
				e.Addresses = append(e.Addresses, r.Prefix.String())
				e.Address = e.Addresses[0]
			}
		case *datapath.Uplink:
			s.Uplinks = append(s.Uplinks, describeUplink(r))
		case *datapath.Attachment:
			hooks[r.Device] = r.Hook
		}
	}
	for _, name := range names {
		for _, e := range members[name] {
			networks[name].Endpoints = append(networks[name].Endpoints, *e)
		}
		s.Networks = append(s.Networks, *networks[name])
	}
	for i := range s.Uplinks {
		s.Uplinks[i].Hook = hooks[s.Uplinks[i].Name]
	}
}

// only leaves the endpoints of the name in the networks, and returns the objects that are theirs.
func (s *Status) only(name string, owned []reconcile.Resource) []reconcile.Resource {
	hosts, insides, namespaces, addresses := map[string]bool{}, map[innerEnd]bool{}, map[string]bool{}, map[string]bool{}
	macs := map[string]bool{}
	for i := range s.Networks {
		n := &s.Networks[i]
		n.Endpoints = slices.DeleteFunc(n.Endpoints, func(e EndpointStatus) bool { return !e.called(name) })
		for _, e := range n.Endpoints {
			hosts[e.HostInterface], insides[innerEnd{e.Namespace, e.Interface}] = true, true
			namespaces[e.Namespace], macs[e.MAC] = true, true
			for _, prefix := range e.Addresses {
				address, _, _ := strings.Cut(prefix, "/")
				addresses[n.Name+" "+address] = true
			}
		}
	}
	s.Networks = slices.DeleteFunc(s.Networks, func(n NetworkStatus) bool { return len(n.Endpoints) == 0 })
	return slices.DeleteFunc(owned, func(r reconcile.Resource) bool {
		switch r := r.(type) {
		case topology.Namespace:
			return !namespaces[r.Name]
		case topology.Veth:
			return !hosts[r.Host]
		case topology.FDB: // of its own port, or of the trunk to it
			return !macs[r.MAC.String()]
		case *datapath.Endpoint:
			return !hosts[r.Device]
		case *datapath.Attachment:
			return !hosts[r.Device]
		case topology.Address:
			return !insides[innerEnd{r.Namespace, r.Device}]
		case topology.Static6:
			return !insides[innerEnd{r.Namespace, r.Device}]
		case topology.Route:
			return !insides[innerEnd{r.Namespace, r.Device}]
		case topology.Neighbour:
			return !addresses[r.Device+" "+r.Address.String()]
		}
		return true
	})
}

// called says whether the name is one of the endpoint's.
func (e EndpointStatus) called(name string) bool {
	return name == e.Namespace || name == e.HostInterface || slices.ContainsFunc(e.Addresses, func(prefix string) bool {
		address, _, _ := strings.Cut(prefix, "/")
		return name == address
	})
}

func describeUplink(u *datapath.Uplink) UplinkStatus {
	s := UplinkStatus{Name: u.Device, Addresses: []string{}, PortFirst: u.PortFirst, PortLast: u.PortLast}
	for _, a := range []netip.Addr{u.Address, u.Address6} {
		if a.IsValid() {
			s.Addresses = append(s.Addresses, a.String())
		}
	}
	if len(s.Addresses) > 0 {
		s.Address = s.Addresses[0]
	}
	return s
}
