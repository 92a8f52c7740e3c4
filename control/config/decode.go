// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
)

// located is a value with its place in the file, so that a later check can point at it.
type located[T any] struct {
	at    position
	value T
	// ok tells that the file has the value and that it has the right type.
	ok bool
}

// documentDraft is the file with types checked and nothing else.
type documentDraft struct {
	networks located[[]networkDraft]
	sessions located[int]
	uplinks  located[[]located[string]]
}

type networkDraft struct {
	at         position
	name       located[string]
	subnets    located[[]located[string]]
	gateway    located[[]located[string]]
	mtu        located[int]
	masquerade located[bool]
	isolation  located[bool]
	ndProxy    located[bool]
	datapath   located[string]
	mapping    located[string]
	filtering  located[string]
	ports      located[string]
	limits     located[limitsDraft]
	exempt     located[[]located[string]]
	endpoints  located[[]endpointDraft]
}

type limitsDraft struct {
	sessions, mappings, rate, burst, broadcasts located[int]
}

type endpointDraft struct {
	at            position
	namespace     located[string]
	iface         located[string]
	hostInterface located[string]
	addresses     located[[]located[string]]
	mac           located[string]
	sourceGuard   located[bool]
}

// decoder turns YAML into drafts.
type decoder struct{ *report }

func (d decoder) document(n ast.Node) documentDraft {
	var doc documentDraft
	d.mapping(n, "the configuration", func() string { return "the configuration" }, []field{
		{key: "networks", required: true, read: func(n ast.Node) { doc.networks = list(d, n, "networks", d.network) }},
		{key: "sessions", read: func(n ast.Node) { doc.sessions = d.integer(n, "sessions", minSessions, maxSessions) }},
		{key: "uplinks", read: func(n ast.Node) { doc.uplinks = d.optionalStrings(n, "uplinks", "uplink") }},
	})
	return doc
}

func (d decoder) network(n ast.Node, index int) networkDraft {
	net := networkDraft{at: positionOf(n)}
	label := func() string { return labelOf("network", net.name, index) }
	d.mapping(n, "network", label, []field{
		{key: "name", required: true, read: func(n ast.Node) { net.name = d.text(n, "name") }},
		{key: "subnets", required: true, read: func(n ast.Node) { net.subnets = d.strings(n, "subnets", "subnet") }},
		{key: "gateway", required: true, read: func(n ast.Node) { net.gateway = d.stringOrStrings(n, "gateway") }},
		{key: "mtu", read: func(n ast.Node) { net.mtu = d.integer(n, "mtu", minMTU, maxMTU) }},
		{key: "masquerade", read: func(n ast.Node) { net.masquerade = d.boolean(n, "masquerade") }},
		{key: "isolation", read: func(n ast.Node) { net.isolation = d.boolean(n, "isolation") }},
		{key: "nd-proxy", read: func(n ast.Node) { net.ndProxy = d.boolean(n, "nd-proxy") }},
		{key: "datapath", read: func(n ast.Node) { net.datapath = d.text(n, "datapath") }},
		{key: "mapping", read: func(n ast.Node) { net.mapping = d.text(n, "mapping") }},
		{key: "filtering", read: func(n ast.Node) { net.filtering = d.text(n, "filtering") }},
		{key: "ports", read: func(n ast.Node) { net.ports = d.text(n, "ports") }},
		{key: "limits", read: func(n ast.Node) { net.limits = d.limits(n) }},
		{key: "exempt", read: func(n ast.Node) { net.exempt = d.strings(n, "exempt", "exempt destination") }},
		{key: "endpoints", read: func(n ast.Node) {
			// A network may begin without endpoints, also with all of them commented out.
			if n.Type() != ast.NullType {
				net.endpoints = list(d, n, "endpoints", d.endpoint)
			}
		}},
	})
	return net
}

func (d decoder) limits(n ast.Node) located[limitsDraft] {
	draft := located[limitsDraft]{at: positionOf(n), ok: true}
	limit := func(key string, value *located[int]) field {
		return field{key: key, read: func(n ast.Node) { *value = d.integer(n, key, 0, maxLimit) }}
	}
	d.mapping(n, "limits", func() string { return "limits" }, []field{
		limit("sessions", &draft.value.sessions), limit("mappings", &draft.value.mappings),
		limit("rate", &draft.value.rate), limit("burst", &draft.value.burst),
		limit("broadcasts", &draft.value.broadcasts),
	})
	return draft
}

func (d decoder) endpoint(n ast.Node, index int) endpointDraft {
	ep := endpointDraft{at: positionOf(n)}
	label := func() string { return labelOf("endpoint", ep.namespace, index) }
	d.mapping(n, "endpoint", label, []field{
		{key: "namespace", required: true, read: func(n ast.Node) { ep.namespace = d.text(n, "namespace") }},
		{key: "interface", read: func(n ast.Node) { ep.iface = d.text(n, "interface") }},
		{key: "host_interface", read: func(n ast.Node) { ep.hostInterface = d.text(n, "host_interface") }},
		{key: "addresses", required: true, read: func(n ast.Node) { ep.addresses = d.strings(n, "addresses", "address") }},
		{key: "mac", read: func(n ast.Node) { ep.mac = d.text(n, "mac") }},
		{key: "source-guard", read: func(n ast.Node) { ep.sourceGuard = d.boolean(n, "source-guard") }},
	})
	return ep
}

func (d decoder) strings(n ast.Node, key, element string) located[[]located[string]] {
	return list(d, n, key, func(n ast.Node, _ int) located[string] { return d.text(n, element) })
}

// stringOrStrings reads what is mostly one: a string alone is a list of it.
func (d decoder) stringOrStrings(n ast.Node, key string) located[[]located[string]] {
	if n.Type() == ast.SequenceType {
		return d.strings(n, key, key)
	}
	one := d.text(n, key)
	return located[[]located[string]]{at: one.at, value: []located[string]{one}, ok: one.ok}
}

func (d decoder) optionalStrings(n ast.Node, key, element string) located[[]located[string]] {
	if n.Type() == ast.NullType {
		return located[[]located[string]]{}
	}
	return d.strings(n, key, element)
}

// labelOf names a network or endpoint in a message, by its place in its list while it has no usable name.
func labelOf(kind string, name located[string], index int) string {
	if !name.ok || name.value == "" {
		return fmt.Sprintf("%s number %d", kind, index+1)
	}
	if len(name.value) > quoteLimit || !isVisible(name.value) {
		return kind + " " + quote(name.value)
	}
	return kind + " " + name.value
}
