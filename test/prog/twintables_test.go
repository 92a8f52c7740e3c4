// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"flyover/bpf"
	"flyover/test/model"
)

// The model's keys and entries as those of the maps.

func (w *twin) ifindexOf(owner int) uint32 {
	if owner == model.Host {
		return w.bridge
	}
	return w.endpoints[owner].ifindex
}

func sessionKeyOf(k model.SessionKey) sessionKey {
	return sessionKey{Inside: k.Inside.Addr().As4(), Remote: k.Remote.Addr().As4(),
		InsidePort: be16(k.Inside.Port()), RemotePort: be16(k.Remote.Port()), Proto: k.Proto}
}

// sessionOf is nil if there is none. Of a dead one nothing counts but that.
func (w *twin) sessionOf(s *model.Session) *sessionEntry {
	if s == nil {
		return nil
	}
	var e sessionEntry
	if s.State == model.Dead {
		return &e
	}
	e.Life.Seen, e.Life.State = s.Seen, bpf.DatapathSessionState(s.State)
	e.Outside, e.OutsidePort = s.Outside.Addr().As4(), be16(s.Outside.Port())
	if s.NextHop.IsValid() {
		e.NextHop = s.NextHop.As4()
	}
	e.Uplink, e.Mtu, e.TcpMark, e.Endpoint = w.uplink, mtu, s.Mark, uint16(s.Owner)
	if s.Owner == model.Host {
		e.Endpoint = 0xffff
	}
	e.Flags = map[mapping]bpf.DatapathSessionFlags{
		independent: bpf.DatapathSessionFlagsSESSION_MAPPED,
		openFilter:  bpf.DatapathSessionFlagsSESSION_MAPPED | bpf.DatapathSessionFlagsSESSION_OPEN,
	}[w.mapping]
	return &e
}

func permitKeyOf(k model.PermitKey) replyKey {
	return replyKey{Remote: k.Remote.Addr().As4(), Outside: k.Outside.Addr().As4(),
		RemotePort: be16(k.Remote.Port()), OutsidePort: be16(k.Outside.Port()), Proto: k.Proto}
}

func (w *twin) permitOf(p *model.Permit) *replyEntry {
	if p == nil {
		return nil
	}
	e := replyEntry{Inside: p.Inside.Addr().As4(), InsidePort: be16(p.Inside.Port()), Endpoint: w.ifindexOf(p.Owner),
		Sessions: p.Sessions, Tuple: w.mapping == dependent}
	e.Life.Seen, e.Life.State = p.Seen, bpf.DatapathSessionState(p.State)
	return &e
}

func mappedKeyOf(k model.MappingKey) mappingKey {
	return mappingKey{Inside: k.Inside.Addr().As4(), Outside: k.Outside.As4(), InsidePort: be16(k.Inside.Port()), Proto: k.Proto}
}

func mappedOf(m *model.MappingEntry) *mappingEntry {
	if m == nil {
		return nil
	}
	return &mappingEntry{OutsidePort: be16(m.Port), Sessions: m.Sessions}
}

func placeKeyOf(k model.PortKey) portKey {
	return portKey{Outside: k.Outside.Addr().As4(), OutsidePort: be16(k.Outside.Port()), Proto: k.Proto}
}

func (w *twin) placeOf(p *model.PortOwner) *portEntry {
	if p == nil {
		return nil
	}
	e := portEntry{Inside: p.Inside.Addr().As4(), InsidePort: be16(p.Inside.Port()), Endpoint: w.ifindexOf(p.Owner)}
	e.Life.Seen, e.Life.State = p.Seen, bpf.DatapathSessionState(p.State)
	return &e
}

// openPorts are the mappings' ports that anybody may send to: all or none.
func (w *twin) openPorts() map[model.PortKey]*model.PortOwner {
	if w.mapping != openFilter {
		return nil
	}
	return w.model.Ports
}

// claimed says whether the port's bit is set.
func (w *twin) claimed(k portKey) bool {
	b := lookup[bpf.DatapathBitmapKey, bpf.DatapathBitmapEntry](w, w.FoBitmaps4, bpf.DatapathBitmapKey{Outside: k.Outside, Proto: k.Proto})
	return b != nil && isClaimed(b, be16(k.OutsidePort))
}

// compareClaims holds the bits of the mappings' ports to be set, and no others.
func (w *twin) compareClaims() []string {
	var all []string
	claims := w.claims(w.t)
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

// lookup is the entry of a key, nil if there is none.
func lookup[K, V any](w *twin, m *ebpf.Map, key K) *V {
	var v V
	if err := m.Lookup(key, &v); err != nil {
		if !errors.Is(err, ebpf.ErrKeyNotExist) {
			w.t.Fatalf("look up in %v: %v", m, err)
		}
		return nil
	}
	return &v
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

func living(s *sessionEntry) *sessionEntry {
	if s != nil && s.Life.State == bpf.DatapathSessionStateSESSION_DEAD {
		return &sessionEntry{}
	}
	return s
}

// untagged is a mapping without the hash of its key.
func untagged(m *mappingEntry) *mappingEntry {
	if m != nil {
		m.Tag = 0
	}
	return m
}

// compareTouched compares what the last packet may have changed.
func (w *twin) compareTouched() []string {
	var all []string
	touched := w.model.Touched
	for _, k := range touched.Sessions {
		got := living(lookup[sessionKey, sessionEntry](w, w.FoSessions4, sessionKeyOf(k)))
		all = append(all, unequal("session", k, w.sessionOf(w.model.Sessions[k]), got)...)
	}
	for _, k := range touched.Permits {
		got := lookup[replyKey, replyEntry](w, w.FoReplies4, permitKeyOf(k))
		all = append(all, unequal("permit", k, w.permitOf(w.model.Permits[k]), got)...)
	}
	for _, k := range touched.Mappings {
		got := untagged(lookup[mappingKey, mappingEntry](w, w.FoMappings4, mappedKeyOf(k)))
		all = append(all, unequal("mapping", k, mappedOf(w.model.Mappings[k]), got)...)
	}
	for _, k := range touched.Ports {
		got := lookup[portKey, portEntry](w, w.FoPorts4, placeKeyOf(k))
		all = append(all, unequal("port", k, w.placeOf(w.openPorts()[k]), got)...)
		if claimed, want := w.claimed(placeKeyOf(k)), w.model.Ports[k] != nil; claimed != want {
			all = append(all, fmt.Sprintf("port %v: its bit is %v, want %v", k, claimed, want))
		}
	}
	for _, k := range touched.Datagrams {
		got := lookup[bpf.DatapathDatagramKey, bpf.DatapathDatagramEntry](w, w.FoDatagrams4, w.datagramKeyOf(k))
		all = append(all, unequal("datagram", k, w.datagramOf(w.model.Datagrams[k]), got)...)
	}
	for _, owner := range touched.Owners {
		all = append(all, w.compareUsage(owner)...)
	}
	return all
}

func (w *twin) compareUsage(owner int) []string {
	got := lookup[uint32, bpf.DatapathUsageEntry](w, w.FoUsage, uint32(owner))
	want := model.Usage{}
	if u := w.model.Usage[owner]; u != nil {
		want = *u
	}
	has := model.Usage{Sessions: got.Sessions, Mappings: got.Mappings}
	buckets := w.Buckets(owner)
	has.Makes, has.Answers, has.Broadcasts = buckets.Sessions, buckets.Answers, buckets.Broadcasts
	return unequal("usage of", owner, &want, &has)
}

// compareTables compares all of them.
func (w *twin) compareTables() []string {
	var all []string
	all = append(all, compareAll(w, "session", w.FoSessions4, w.model.Sessions, sessionKeyOf, w.sessionOf, living)...)
	all = append(all, compareAll(w, "permit", w.FoReplies4, w.model.Permits, permitKeyOf, w.permitOf, same)...)
	all = append(all, compareAll(w, "mapping", w.FoMappings4, w.model.Mappings, mappedKeyOf, mappedOf, untagged)...)
	all = append(all, compareAll(w, "port", w.FoPorts4, w.openPorts(), placeKeyOf, w.placeOf, same)...)
	all = append(all, w.compareClaims()...)
	all = append(all, compareAll(w, "datagram", w.FoDatagrams4, w.model.Datagrams, w.datagramKeyOf, w.datagramOf, same)...)
	for id := range w.endpoints[1:] {
		all = append(all, w.compareUsage(id+1)...)
		all = append(all, w.compareTraffic(id+1)...)
	}
	all = append(all, w.compareTokens()...)
	if others := w.otherReasons(); others != "" {
		all = append(all, "reasons: "+others)
	}
	return all
}

// compareTokens takes every token out and puts it back.
func (w *twin) compareTokens() []string {
	wrong, first := 0, ""
	for i, k := range w.model.Tokens {
		var key sessionKey
		if err := w.FoExpiry4.LookupAndDelete(nil, &key); err != nil {
			return []string{fmt.Sprintf("token %d: %v, the model's is %v", i, err, k)}
		}
		if key != sessionKeyOf(k) {
			wrong++
			first = fmt.Sprintf("token %d is of %+v, the model's of %v", i, key, k)
		}
		put(w.t, w.FoExpiry4, nil, key)
	}
	if wrong == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d of %d tokens are out of order: %s", wrong, len(w.model.Tokens), first)}
}

func same[V any](v *V) *V { return v }

func compareAll[K, MK comparable, V comparable, MV any](w *twin, what string, m *ebpf.Map, entriesOf map[MK]*MV,
	keyOf func(MK) K, valueOf func(*MV) *V, clean func(*V) *V) []string {
	var all []string
	there := entries[K, V](w.t, m)
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
