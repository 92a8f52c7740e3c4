// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/netip"
	"slices"
)

const (
	// MaxNetworks is the number of networks in one file.
	MaxNetworks = 1024
	// MaxEndpoints is the number of endpoints in one file, of all networks together.
	MaxEndpoints = 16384

	defaultMTU = 1500
)

// validator turns drafts into a Config. It claims each name and address once, in an order that makes the message
// appear at the endpoint rather than at the network it collides with.
type validator struct {
	*report
	networks   claims
	subnets    []subnetClaim
	hostNames  claims
	interfaces claims
	hosts      claims
	macs       claims
	endpoints  int
}

// claims are things of which there is one, by their key.
type claims map[string]claim

// claim tells who has the thing, and the line that says so.
type claim struct {
	owner string
	line  int
}

type subnetClaim struct {
	prefix netip.Prefix
	claim
}

// take is the earlier claim when key is taken already.
func (c claims) take(key string, mine claim) (earlier claim, taken bool) {
	if earlier, taken = c[key]; !taken {
		c[key] = mine
	}
	return earlier, taken
}

func validate(r *report, doc documentDraft) *Config {
	v := &validator{
		report: r, networks: claims{}, hostNames: claims{}, interfaces: claims{}, hosts: claims{}, macs: claims{},
	}
	drafts := doc.networks.value
	if doc.networks.ok && len(drafts) == 0 {
		v.add(doc.networks.at, "networks is empty; list at least one network")
	}
	if len(drafts) > MaxNetworks {
		v.add(drafts[MaxNetworks].at, "more than %d networks; the rest of the list is not checked", MaxNetworks)
		drafts = drafts[:MaxNetworks]
	}
	cfg := &Config{Sessions: defaultSessions}
	if doc.sessions.ok {
		cfg.Sessions = doc.sessions.value
	}
	for i, draft := range drafts {
		n := v.network(draft, i)
		n.Translation = v.translation(n, draft, labelOf("network", draft.name, i), cfg.Sessions)
		n.Broadcasts = broadcasts(n, draft.limits.value.broadcasts)
		cfg.Networks = append(cfg.Networks, n)
	}
	for i, draft := range drafts {
		v.notShards(draft.name, labelOf("network", draft.name, i))
		v.sharded(cfg.Networks[i], draft, labelOf("network", draft.name, i))
	}
	v.disjointPorts(cfg.Networks, drafts)
	cfg.Uplinks = v.uplinks(doc.uplinks.value)
	for i, draft := range drafts {
		cfg.Networks[i].Endpoints = v.networkEndpoints(cfg.Networks[i], draft.endpoints.value)
	}
	return cfg
}

func (v *validator) network(draft networkDraft, index int) Network {
	label := labelOf("network", draft.name, index)
	n := Network{Name: draft.name.value, MTU: defaultMTU, Masquerade: true, Isolation: true, Datapath: EBPF}
	v.networkName(draft.name, label, n)
	n.Subnets = v.networkSubnets(draft.subnets, label)
	n.Gateways = v.addresses(draft.gateway, "gateway", label, n.Subnets, nil)
	if draft.mtu.ok {
		n.MTU = draft.mtu.value
	}
	if draft.masquerade.ok {
		n.Masquerade = draft.masquerade.value
	}
	if draft.isolation.ok {
		n.Isolation = draft.isolation.value
	}
	if draft.datapath.ok {
		n.Datapath = Datapath(draft.datapath.value)
		if n.Datapath != EBPF && n.Datapath != Kernel {
			v.add(draft.datapath.at, "unknown datapath %s of %s; use \"ebpf\" or \"kernel\"", quote(draft.datapath.value), label)
		}
	}
	n.NDProxy = v.ndProxy(draft.ndProxy, n, label)
	v.ipv6(draft, n, label)
	return n
}

// ndProxy refuses to answer for addresses that the outside does not see.
func (v *validator) ndProxy(draft located[bool], n Network, label string) bool {
	switch {
	case !draft.ok || !draft.value:
		return false
	case !n.IPv6():
		v.add(draft.at, "nd-proxy: true of %s is about IPv6, which it does not have; remove it, or add an IPv6 subnet", label)
	case n.Masquerade:
		v.add(draft.at, "nd-proxy: true of %s is about addresses that the outside sees, and the network is masqueraded; remove it, or set \"masquerade: false\"", label)
	}
	return true
}

// ipv6 refuses what a network with an IPv6 subnet cannot have.
func (v *validator) ipv6(draft networkDraft, n Network, label string) {
	if !n.IPv6() {
		return
	}
	if n.MTU < minMTU6 {
		v.add(draft.mtu.at, "mtu %d of %s is less than the %d that IPv6 needs; raise it, or remove the IPv6 subnet", n.MTU, label, minMTU6)
	}
}

func (v *validator) networkName(name located[string], label string, n Network) {
	if !name.ok {
		return
	}
	if err := checkInterfaceName(name.value); err != nil {
		v.add(name.at, "network name %s cannot name a bridge: %v", quote(name.value), err)
		return
	}
	mine := claim{label, name.at.line}
	if earlier, taken := v.networks.take(name.value, mine); taken {
		v.add(name.at, "%s is already at line %d; give each network its own name", label, earlier.line)
		return
	}
	v.hostNames.take(name.value, mine)
	mac := n.GatewayMAC().String()
	if earlier, taken := v.macs.take(mac, mine); taken {
		v.add(name.at, "the bridge of %s would have the MAC address %s of %s at line %d; choose another name",
			label, mac, earlier.owner, earlier.line)
	}
}

// networkSubnets is nil unless all are usable: with some of them, addresses in the others would be refused too.
func (v *validator) networkSubnets(list located[[]located[string]], label string) []netip.Prefix {
	if list.ok && len(list.value) == 0 {
		v.add(list.at, "%s has no subnet; list one", label)
	}
	var subnets []netip.Prefix
	for _, s := range list.value {
		if !s.ok {
			continue
		}
		p, err := parseSubnet(s.value)
		if err != nil {
			v.add(s.at, "subnet %s of %s: %v", quote(s.value), label, err)
			continue
		}
		if _, more := subnetFor(p.Addr(), subnets); more {
			v.add(s.at, "%s has more than one %s subnet; keep one, or make a network for each", label, familyOf(p.Addr()))
			continue
		}
		subnets = append(subnets, p)
		v.claimSubnet(p, claim{label, s.at.line}, s.at)
	}
	if len(subnets) < len(list.value) {
		return nil
	}
	slices.SortFunc(subnets, netip.Prefix.Compare) // IPv4 before IPv6
	return subnets
}

func (v *validator) claimSubnet(p netip.Prefix, mine claim, at position) {
	for _, earlier := range v.subnets {
		if earlier.prefix.Overlaps(p) {
			v.add(at, "subnet %s of %s overlaps subnet %s of %s at line %d; choose another subnet",
				p, mine.owner, earlier.prefix, earlier.owner, earlier.line)
			break
		}
	}
	v.subnets = append(v.subnets, subnetClaim{p, mine})
}

func (v *validator) uplinks(drafts []located[string]) []string {
	var names []string
	for _, name := range drafts {
		if !name.ok {
			continue
		}
		if err := checkInterfaceName(name.value); err != nil {
			v.add(name.at, "uplink %s: %v", quote(name.value), err)
			continue
		}
		if earlier, taken := v.hostNames.take(name.value, claim{"uplink " + name.value, name.at.line}); taken {
			v.add(name.at, "uplink %s is already the name of %s at line %d; remove one", name.value, earlier.owner, earlier.line)
			continue
		}
		v.notShards(name, "uplink "+name.value)
		names = append(names, name.value)
	}
	return names
}
