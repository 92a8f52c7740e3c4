// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	defaultSessions = 131072
	defaultMappings = 8192
	defaultRate     = 20000
	// A second. More than name services and discovery ever need, and little enough for a bridge of a thousand ports.
	defaultBroadcasts = 1000
	// A network's exempt destinations; those of all networks share a map of 16384.
	maxExempt = 16
)

// translation is that of network n, which is known but for it.
func (v *validator) translation(n Network, draft networkDraft, label string, sessions int) Translation {
	t := Translation{Mapping: EndpointIndependent, Filtering: AddressDependent}
	if v.isNoTranslation(n, draft, label) {
		return Translation{}
	}
	if draft.mapping.ok {
		t.Mapping = Mapping(draft.mapping.value)
		if t.Mapping != EndpointIndependent && t.Mapping != EndpointDependent {
			v.add(draft.mapping.at, "unknown mapping %s of %s; use \"%s\" or \"%s\"",
				quote(draft.mapping.value), label, EndpointIndependent, EndpointDependent)
		}
	}
	t.Filtering = v.filtering(draft.filtering, t.Mapping, label)
	if draft.ports.ok {
		ports, err := parsePorts(draft.ports.value)
		if err != nil {
			v.add(draft.ports.at, "ports %s of %s: %v", quote(draft.ports.value), label, err)
		}
		t.Ports = ports
	}
	t.Limits = v.limits(draft.limits.value, sessions)
	t.Exempt = v.exempt(draft.exempt.value, label, n.Subnets)
	return t
}

// isNoTranslation tells whether the network has none, and then refuses the keys that are about it.
func (v *validator) isNoTranslation(n Network, draft networkDraft, label string) bool {
	why := ""
	switch {
	case !n.Masquerade:
		why = "masquerade: false"
	case n.Datapath == Kernel:
		why = "datapath: kernel"
	default:
		return false
	}
	for _, key := range translationKeys(n, draft) {
		if key.at != (position{}) {
			v.add(key.at, "%s of %s has no meaning with %s; remove it", key.name, label, why)
		}
	}
	return true
}

// placedKey is a key, and where it stands in the file; nowhere if it does not.
type placedKey struct {
	name string
	at   position
}

// translationKeys are the keys that mean nothing where nothing is translated. Of the limits, broadcasts are the eBPF datapath's own.
func translationKeys(n Network, draft networkDraft) []placedKey {
	keys := []placedKey{
		{"mapping", draft.mapping.at}, {"filtering", draft.filtering.at}, {"ports", draft.ports.at}, {"exempt", draft.exempt.at},
	}
	if n.Datapath == Kernel {
		return append(keys, placedKey{"limits", draft.limits.at})
	}
	limits := draft.limits.value
	return append(keys, placedKey{"sessions", limits.sessions.at}, placedKey{"mappings", limits.mappings.at},
		placedKey{"rate", limits.rate.at}, placedKey{"burst", limits.burst.at})
}

// broadcasts are those of each endpoint, a second.
func broadcasts(n Network, draft located[int]) int {
	switch {
	case n.Datapath == Kernel:
		return 0
	case draft.ok:
		return draft.value
	}
	return defaultBroadcasts
}

func (v *validator) filtering(draft located[string], mapping Mapping, label string) Filtering {
	switch f := Filtering(draft.value); {
	case !draft.ok && mapping == EndpointDependent:
		return ""
	case !draft.ok:
		return AddressDependent
	case f != AddressDependent && f != OpenFiltering:
		v.add(draft.at, "unknown filtering %s of %s; use \"%s\" or \"%s\"", quote(draft.value), label, AddressDependent, OpenFiltering)
	case mapping == EndpointDependent:
		v.add(draft.at, "filtering of %s has no meaning with mapping: %s, which lets in the flow's remote alone; remove it", label, mapping)
	}
	return Filtering(draft.value)
}

func (v *validator) exempt(list []located[string], label string, subnets []netip.Prefix) []netip.Prefix {
	var prefixes []netip.Prefix
	if len(list) > maxExempt {
		v.add(list[maxExempt].at, "%s has more than %d exempt destinations; combine them", label, maxExempt)
		list = list[:maxExempt]
	}
	for _, draft := range list {
		if !draft.ok {
			continue
		}
		p, err := netip.ParsePrefix(draft.value)
		_, there := subnetFor(p.Addr(), subnets)
		switch {
		case err != nil:
			v.add(draft.at, "exempt destination %s of %s: not a prefix; write it like 10.0.0.0/8 or fd00::/8", quote(draft.value), label)
		case p != p.Masked():
			v.add(draft.at, "exempt destination %s of %s: host bits are set; write %s", quote(draft.value), label, p.Masked())
		case len(subnets) > 0 && !there:
			v.add(draft.at, "exempt destination %[1]s of %[2]s is %[3]s, and the network has no %[3]s subnet; remove it",
				p, label, familyOf(p.Addr()))
		case slices.Contains(prefixes, p):
			v.add(draft.at, "exempt destination %s of %s is there twice; remove one", p, label)
		default:
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}

func parsePorts(text string) (PortRange, error) {
	low, high, found := strings.Cut(text, "-")
	first, err1 := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
	last, err2 := strconv.ParseUint(strings.TrimSpace(high), 10, 16)
	switch {
	case !found || err1 != nil || err2 != nil:
		return PortRange{}, errors.New("not a range of ports; write it like 1024-32767")
	case first < minPort:
		return PortRange{}, fmt.Errorf("ports below %d are for services; begin at %d or above", minPort, minPort)
	case first > last:
		return PortRange{}, errors.New("the first port is above the last; swap them")
	}
	return PortRange{First: uint16(first), Last: uint16(last)}, nil
}

func (v *validator) limits(draft limitsDraft, sessions int) Limits {
	or := func(value located[int], otherwise int) int {
		if value.ok {
			return value.value
		}
		return otherwise
	}
	rate := or(draft.rate, defaultRate)
	if draft.burst.ok && draft.burst.value == 0 && rate > 0 {
		v.add(draft.burst.at, "burst 0 lets no session begin; use 1 or more, or rate: 0 for no limit")
	}
	return Limits{
		Sessions: or(draft.sessions, sessions/4),
		Mappings: or(draft.mappings, defaultMappings),
		Rate:     rate,
		Burst:    min(or(draft.burst, 2*rate), maxLimit),
	}
}

// disjointPorts refuses two kinds of mapping on the same ports: a port that stands for one inside is nobody else's.
func (v *validator) disjointPorts(nets []Network, drafts []networkDraft) {
	for i, a := range nets {
		for j, b := range nets[:i] {
			if a.Translation.Mapping == "" || b.Translation.Mapping == "" || a.Translation.Mapping == b.Translation.Mapping {
				continue
			}
			zero := PortRange{}
			if a.Translation.Ports != zero && b.Translation.Ports != zero && !a.Translation.Ports.Overlaps(b.Translation.Ports) {
				continue
			}
			v.add(drafts[i].at, "%s and %s have different mappings and may have the same ports; give each \"ports:\" of its own",
				labelOf("network", drafts[i].name, i), labelOf("network", drafts[j].name, j))
			return
		}
	}
}
