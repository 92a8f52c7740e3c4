// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net"
	"net/netip"
	"slices"
)

func (v *validator) networkEndpoints(n Network, drafts []endpointDraft) []Endpoint {
	var endpoints []Endpoint
	for i, ep := range drafts {
		if v.endpoints++; v.endpoints == MaxEndpoints+1 {
			v.add(ep.at, "more than %d endpoints in all; the rest is not checked", MaxEndpoints)
		}
		if v.endpoints > MaxEndpoints {
			break
		}
		endpoints = append(endpoints, v.endpoint(n, ep, i))
	}
	return endpoints
}

func (v *validator) endpoint(n Network, draft endpointDraft, index int) Endpoint {
	label := labelOf("endpoint", draft.namespace, index)
	ep := Endpoint{Namespace: draft.namespace.value}
	if draft.namespace.ok {
		if err := checkNamespaceName(draft.namespace.value); err != nil {
			v.add(draft.namespace.at, "namespace %s: %v", quote(draft.namespace.value), err)
			draft.namespace.ok = false
		}
	}
	name := v.interfaceName(draft, label)
	ep.Interface = name.value
	ep.HostInterface = v.hostInterfaceName(draft, name, label)
	// A refused address makes no default MAC address, which would be refused for the same reason.
	ep.Addresses = v.addresses(draft.addresses, "address", label, n.Subnets, func(addr netip.Addr, at position) bool {
		return v.claimAddress(n, addr, label, at)
	})
	ep.MAC = v.mac(n, draft, ep.Addresses, label)
	ep.Unguarded = v.unguarded(n, draft.sourceGuard, label)
	return ep
}

// unguarded refuses a guard that nothing would keep.
func (v *validator) unguarded(n Network, guard located[bool], label string) bool {
	if guard.ok && guard.value && n.Datapath == Kernel {
		v.add(guard.at, "source-guard of %s: the datapath \"kernel\" has none; remove it, or set \"datapath: ebpf\"", label)
	}
	return guard.ok && !guard.value
}

// interfaceName is not ok when the name was reported, so that the host's name made from it is not reported again.
func (v *validator) interfaceName(draft endpointDraft, label string) located[string] {
	name := draft.iface
	if name.at == (position{}) && draft.namespace.ok {
		name = located[string]{at: draft.namespace.at, value: "veth-" + draft.namespace.value, ok: true}
	}
	if !name.ok {
		return name
	}
	if err := checkInterfaceName(name.value); err != nil {
		v.reportName(name, draft.iface, "interface", label, err)
		name.ok = false
		return name
	}
	if !draft.namespace.ok {
		return name
	}
	key := draft.namespace.value + "/" + name.value
	if earlier, taken := v.interfaces.take(key, claim{label, name.at.line}); taken {
		v.add(name.at, "interface %s of %s is already in that namespace, at line %d; set \"interface:\" to another name",
			name.value, label, earlier.line)
		name.ok = false
	}
	return name
}

func (v *validator) hostInterfaceName(draft endpointDraft, inside located[string], label string) string {
	name := draft.hostInterface
	if name.at == (position{}) && inside.ok {
		name = located[string]{at: inside.at, value: inside.value + "-br", ok: true}
	}
	if !name.ok {
		return ""
	}
	if err := checkInterfaceName(name.value); err != nil {
		v.reportName(name, draft.hostInterface, "host_interface", label, err)
		return ""
	}
	if earlier, taken := v.hostNames.take(name.value, claim{label, name.at.line}); taken {
		v.add(name.at, "host interface %s of %s is already the name of %s at line %d; set \"host_interface:\" to another name",
			name.value, label, earlier.owner, earlier.line)
		return name.value
	}
	v.notShards(name, label)
	return name.value
}

// reportName tells a name that the file has from one that was made from another, whose remedy is to set it.
func (v *validator) reportName(name, written located[string], key, label string, err error) {
	if written.ok {
		v.add(name.at, "%s %s of %s: %v", key, quote(name.value), label, err)
		return
	}
	v.add(name.at, "default %s %s of %s: %v; set \"%s:\"", key, quote(name.value), label, err, key)
}

func (v *validator) claimAddress(n Network, addr netip.Addr, label string, at position) bool {
	if slices.Contains(n.Gateways, addr) {
		v.add(at, "address %s of %s is the network's gateway; choose another address", addr, label)
		return false
	}
	earlier, taken := v.hosts.take(addr.String(), claim{label, at.line})
	if taken {
		v.add(at, "address %s of %s is already the address of %s at line %d; choose another address",
			addr, label, earlier.owner, earlier.line)
	}
	return !taken
}

func (v *validator) mac(n Network, draft endpointDraft, addrs []netip.Addr, label string) net.HardwareAddr {
	var mac net.HardwareAddr
	where, remedy := draft.mac.at, "choose another"
	switch {
	case draft.mac.ok:
		var err error
		if mac, err = parseMAC(draft.mac.value); err != nil {
			v.add(where, "MAC address %s of %s: %v", quote(draft.mac.value), label, err)
			return nil
		}
	case where == (position{}) && len(addrs) > 0:
		mac = defaultMAC(n.Name, addrs[0])
		where, remedy = draft.addresses.at, "set \"mac:\""
	default:
		return nil
	}
	mine := claim{label, where.line}
	if earlier, taken := v.macs.take(mac.String(), mine); taken {
		v.add(where, "MAC address %s of %s is already that of %s at line %d; %s", mac, label, earlier.owner, earlier.line, remedy)
	}
	return mac
}
