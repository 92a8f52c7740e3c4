// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"fmt"
	"reflect"

	"flyover/bpf"
	"flyover/test/model"
)

// The model's keys and entries as those of the maps.

func (w *family) ifindexOf(owner int) uint32 {
	if owner == model.Host {
		return w.bridge
	}
	return w.endpoints[owner].ifindex
}

func sessionKeyOf(k model.SessionKey) sessionKey6 {
	return sessionKey6{Inside: octets(k.Inside.Addr()), Remote: octets(k.Remote.Addr()),
		InsidePort: be16(k.Inside.Port()), RemotePort: be16(k.Remote.Port()), Proto: k.Proto}
}

// sessionOf is nil if there is none. Of a dead one nothing counts but that.
func (w *family) sessionOf(s *model.Session) *sessionEntry6 {
	if s == nil {
		return nil
	}
	var e sessionEntry6
	if s.State == model.Dead {
		return &e
	}
	e.Life.Seen, e.Life.State = s.Seen, uint32(s.State)
	e.Outside, e.OutsidePort = octets(s.Outside.Addr()), be16(s.Outside.Port())
	if s.NextHop.IsValid() {
		e.NextHop = octets(s.NextHop)
	}
	e.Uplink, e.Mtu, e.TcpMark, e.Endpoint = w.uplink, mtu, s.Mark, uint16(s.Owner)
	if s.Owner == model.Host {
		e.Endpoint = 0xffff
	}
	e.Flags = map[mapping]uint8{
		independent: uint8(bpf.DatapathSessionFlagsSESSION_MAPPED),
		openFilter:  uint8(bpf.DatapathSessionFlagsSESSION_MAPPED | bpf.DatapathSessionFlagsSESSION_OPEN),
	}[w.mapping]
	return &e
}

func permitKeyOf(k model.PermitKey) replyKey6 {
	return replyKey6{Remote: octets(k.Remote.Addr()), Outside: octets(k.Outside.Addr()),
		RemotePort: be16(k.Remote.Port()), OutsidePort: be16(k.Outside.Port()), Proto: k.Proto}
}

func (w *family) permitOf(p *model.Permit) *replyEntry6 {
	if p == nil {
		return nil
	}
	e := replyEntry6{Inside: octets(p.Inside.Addr()), InsidePort: be16(p.Inside.Port()), Endpoint: w.ifindexOf(p.Owner),
		Sessions: p.Sessions, Tuple: w.mapping == dependent}
	e.Life.Seen, e.Life.State = p.Seen, uint32(p.State)
	return &e
}

func mappedKeyOf(k model.MappingKey) mappingKey6 {
	return mappingKey6{Inside: octets(k.Inside.Addr()), Outside: octets(k.Outside), InsidePort: be16(k.Inside.Port()), Proto: k.Proto}
}

func mappedOf(m *model.MappingEntry) *mappingEntry6 {
	if m == nil {
		return nil
	}
	return &mappingEntry6{OutsidePort: be16(m.Port), Sessions: m.Sessions}
}

func placeKeyOf(k model.PortKey) portKey6 {
	return portKey6{Outside: octets(k.Outside.Addr()), OutsidePort: be16(k.Outside.Port()), Proto: k.Proto}
}

func (w *family) placeOf(p *model.PortOwner) *portEntry6 {
	if p == nil {
		return nil
	}
	e := portEntry6{Inside: octets(p.Inside.Addr()), InsidePort: be16(p.Inside.Port()), Endpoint: w.ifindexOf(p.Owner)}
	e.Life.Seen, e.Life.State = p.Seen, uint32(p.State)
	return &e
}

// openPorts are the mappings' ports that anybody may send to: all or none.
func (w *family) openPorts() map[model.PortKey]*model.PortOwner {
	if w.mapping != openFilter {
		return nil
	}
	return w.model.Ports
}

// claimed says whether the port's bit is set.
func (w *family) claimed(k portKey6) bool {
	b := lookup[bitmapEntry6](w.twin, w.tables.bitmaps, bitmapKey6{Outside: k.Outside, Proto: k.Proto})
	return b != nil && isTaken(&b.Taken, be16(k.OutsidePort))
}

// isTaken says whether the port's bit is set among those of an address.
func isTaken(taken *[1024]uint64, port uint16) bool { return taken[port/64]>>(port%64)&1 == 1 }

// claims are the outside ports whose bit is set.
func (w *family) claims() map[portKey6]bool {
	all := map[portKey6]bool{}
	for key, b := range everything[bitmapKey6, bitmapEntry6](w.tables.bitmaps) {
		for port := range 1 << 16 {
			if isTaken(&b.Taken, uint16(port)) {
				all[portKey6{Outside: key.Outside, Proto: key.Proto, OutsidePort: be16(uint16(port))}] = true
			}
		}
	}
	return all
}

// compareClaims holds the bits of the mappings' ports to be set, and no others.
func (w *family) compareClaims() []string {
	var all []string
	claims := w.claims()
	for k := range w.model.Ports {
		if !claims[placeKeyOf(k)] {
			all = append(all, fmt.Sprintf("port %v is a mapping's, and its bit is not set", k))
		}
		delete(claims, placeKeyOf(k))
	}
	for k := range claims {
		all = append(all, fmt.Sprintf("port %+v is nobody's, and its bit is set", k))
	}
	return all
}

// unequal is empty if both are absent or the same.
func unequal[V comparable](what string, key any, want, got *V) []string {
	if want == nil && got == nil || want != nil && got != nil && *want == *got {
		return nil
	}
	return []string{fmt.Sprintf("%s %+v:\n  program %s\n  model   %s", what, key, entryText(got), entryText(want))}
}

func entryText[V any](v *V) string {
	if v == nil {
		return "none"
	}
	return fmt.Sprintf("%+v", *v)
}

func living(s *sessionEntry6) *sessionEntry6 {
	if s != nil && s.Life.State == uint32(bpf.DatapathSessionStateSESSION_DEAD) {
		return &sessionEntry6{}
	}
	return s
}

// untagged is a mapping without the hash of its key.
func untagged(m *mappingEntry6) *mappingEntry6 {
	if m != nil {
		m.Tag = 0
	}
	return m
}

// compareTouched compares what the last packet may have changed.
func (w *family) compareTouched() []string {
	var all []string
	touched := w.model.Touched
	for _, k := range touched.Sessions {
		got := living(lookup[sessionEntry6](w.twin, w.tables.sessions, sessionKeyOf(k)))
		all = append(all, unequal("session", k, w.sessionOf(w.model.Sessions[k]), got)...)
	}
	for _, k := range touched.Permits {
		got := lookup[replyEntry6](w.twin, w.tables.replies, permitKeyOf(k))
		all = append(all, unequal("permit", k, w.permitOf(w.model.Permits[k]), got)...)
	}
	for _, k := range touched.Mappings {
		got := untagged(lookup[mappingEntry6](w.twin, w.tables.mappings, mappedKeyOf(k)))
		all = append(all, unequal("mapping", k, mappedOf(w.model.Mappings[k]), got)...)
	}
	for _, k := range touched.Ports {
		got := lookup[portEntry6](w.twin, w.tables.ports, placeKeyOf(k))
		all = append(all, unequal("port", k, w.placeOf(w.openPorts()[k]), got)...)
		if claimed, want := w.claimed(placeKeyOf(k)), w.model.Ports[k] != nil; claimed != want {
			all = append(all, fmt.Sprintf("port %v: its bit is %v, want %v", k, claimed, want))
		}
	}
	for _, k := range touched.Datagrams {
		got := lookup[datagramEntry6](w.twin, w.tables.datagrams, w.datagramKeyOf(k))
		all = append(all, unequal("datagram", k, w.datagramOf(w.model.Datagrams[k]), got)...)
	}
	for _, owner := range touched.Owners {
		all = append(all, w.compareUsage(owner)...)
	}
	return all
}

func (w *family) compareUsage(owner int) []string {
	got := w.usageOf(owner)
	want := model.Usage{}
	if u := w.model.Usage[owner]; u != nil {
		want = *u
	}
	has := model.Usage{Sessions: got.Sessions, Mappings: got.Mappings}
	buckets := w.Buckets(owner)
	has.Makes, has.Answers, has.Broadcasts = buckets.Sessions, buckets.Answers, buckets.Broadcasts
	return unequal("usage of", owner, &want, &has)
}

// compareTables compares all of the family's own.
func (w *family) compareTables() []string {
	var all []string
	all = append(all, compareAll(w, "session", w.tables.sessions, w.model.Sessions, sessionKeyOf, w.sessionOf, living)...)
	all = append(all, compareAll(w, "permit", w.tables.replies, w.model.Permits, permitKeyOf, w.permitOf, same)...)
	all = append(all, compareAll(w, "mapping", w.tables.mappings, w.model.Mappings, mappedKeyOf, mappedOf, untagged)...)
	all = append(all, compareAll(w, "port", w.tables.ports, w.openPorts(), placeKeyOf, w.placeOf, same)...)
	all = append(all, w.compareClaims()...)
	all = append(all, compareAll(w, "datagram", w.tables.datagrams, w.model.Datagrams, w.datagramKeyOf, w.datagramOf, same)...)
	return append(all, w.compareTokens()...)
}

// compareAllTables compares those of both families, and what both have in common.
func (w *twin) compareAllTables() []string {
	all := append(w.four.compareTables(), w.six.compareTables()...)
	for id := range w.endpoints[1:] {
		all = append(all, w.four.compareUsage(id+1)...)
		all = append(all, w.compareTraffic(id+1)...)
	}
	if others := w.otherReasons(); others != "" {
		all = append(all, "reasons: "+others)
	}
	return all
}

// compareTokens takes every token out and puts it back.
func (w *family) compareTokens() []string {
	wrong, first := 0, ""
	for i, k := range w.model.Tokens {
		token := reflect.New(w.tables.expiry.value)
		if err := w.tables.expiry.LookupAndDelete(nil, token.Interface()); err != nil {
			return []string{fmt.Sprintf("token %d: %v, the model's is %v", i, err, k)}
		}
		var key sessionKey6
		copyFields(reflect.ValueOf(&key).Elem(), token.Elem())
		if key != sessionKeyOf(k) {
			wrong++
			first = fmt.Sprintf("token %d is of %+v, the model's of %v", i, key, k)
		}
		put(w.t, w.tables.expiry.Map, nil, token.Interface())
	}
	if wrong == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d of %d tokens are out of order: %s", wrong, len(w.model.Tokens), first)}
}

func same[V any](v *V) *V { return v }

func compareAll[K, MK comparable, V comparable, MV any](w *family, what string, t table, entriesOf map[MK]*MV,
	keyOf func(MK) K, valueOf func(*MV) *V, clean func(*V) *V) []string {
	var all []string
	there := everything[K, V](t)
	for k, v := range entriesOf {
		key := keyOf(k)
		var got *V
		if e, ok := there[key]; ok {
			got = clean(&e)
		}
		all = append(all, unequal(what, k, valueOf(v), got)...)
		delete(there, key)
	}
	for key, v := range there {
		all = append(all, fmt.Sprintf("%s %+v %+v: the model has none", what, key, v))
	}
	return all
}
