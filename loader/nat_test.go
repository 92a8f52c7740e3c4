// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"flyover/bpf"
	"flyover/test/lab"
	"flyover/test/packet"
)

type (
	sessionKey   = bpf.DatapathSessionKey
	sessionEntry = bpf.DatapathSessionEntry
)

const established = bpf.DatapathSessionStateSESSION_ESTABLISHED

// wire is a port as the maps have it.
func wire(port uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, port))
}

// now is the time of a session that has just seen a packet.
func now(t *testing.T) uint32 {
	t.Helper()
	c, err := readClock()
	if err != nil {
		t.Fatal(err)
	}
	return c.now
}

// Many batches: each session once, and ports in the host's order.
func TestEachSession(t *testing.T) {
	const count = 3*scanBatch + 17
	p, seen := loaded(t, 1<<15), now(t)-5
	sessions := map[sessionKey]sessionEntry{}
	for i := range uint16(count) {
		e := sessionEntry{Outside: [4]byte{203, 0, 113, 2}, OutsidePort: wire(i + 1)}
		e.Life.Seen, e.Life.State = seen, established
		sessions[sessionKey{Inside: [4]byte{10, 0, 0, 1}, InsidePort: wire(i), Remote: [4]byte{198, 51, 100, 7},
			RemotePort: wire(53), Proto: unix.IPPROTO_UDP}] = e
	}
	fill(t, p, bpf.DatapathMapFoSessions4, sessions)
	visits := map[uint16]int{}
	err := p.EachSession(func(s Session) error {
		visits[s.Inside.Port()]++
		if s.Idle < 5 || s.Idle > 15 || s.Left+s.Idle != 300 {
			t.Errorf("idle %d, left %d", s.Idle, s.Left)
		}
		s.Idle, s.Left = 0, 0
		want := Session{
			Proto: unix.IPPROTO_UDP, Inside: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), s.Inside.Port()),
			Outside: netip.AddrPortFrom(netip.MustParseAddr("203.0.113.2"), s.Inside.Port()+1),
			Remote:  netip.MustParseAddrPort("198.51.100.7:53"), State: SessionState(established),
		}
		if s != want {
			t.Errorf("session %+v, want %+v", s, want)
		}
		return nil
	})
	if err != nil || len(visits) != count || slices.Max(slices.Collect(maps.Values(visits))) != 1 {
		t.Errorf("%d of %d sessions visited, error %v", len(visits), count, err)
	}
	enough := errors.New("enough")
	if err := p.EachSession(func(Session) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("error of visit came back as %v", err)
	}
}

// life is one entry of TestTimeouts.
type life struct {
	proto uint8
	state bpf.DatapathSessionState
	age   uint32
}

// What the listing calls live is what the programs let packets in for: every protocol and state, at either end of its time.
func TestTimeouts(t *testing.T) {
	p := loaded(t, 1024)
	limits, err := readTimeouts()
	if err != nil {
		t.Fatal(err)
	}
	in := openInwards(t, p)
	for _, proto := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP} {
		for state := range bpf.DatapathSessionStateSESSION_CLOSED + 1 {
			limit := limits.of(proto, state)
			// Not at the limit itself, which passes while we look.
			for _, age := range []uint32{0, limit - 5, limit + 1} {
				l := life{proto, state, age}
				e := sessionEntry{}
				e.Life.Seen, e.Life.State = now(t)-age, state
				c, err := readClock()
				if err != nil {
					t.Fatal(err)
				}
				want := SessionState(state).holds() && c.left(proto, SessionState(state), e.Life.Seen) >= 0
				if got := in.live(t, l); got != want {
					t.Errorf("protocol %d, state %v, age %d: the programs say live %v, the listing %v",
						proto, SessionState(state), age, got, want)
				}
			}
		}
	}
}

// inwards asks from_uplink about sessions of one tuple, by what it does with a reply.
type inwards struct {
	pins    Pins
	program *ebpf.Program
	uplink  *net.Interface
}

var (
	uplinkAddr = netip.MustParseAddr(lab.UplinkAddress)
	remoteEnd  = netip.MustParseAddrPort("198.51.100.7:53")
	insideEnd  = netip.MustParseAddrPort("10.0.0.1:4000")
)

func openInwards(t *testing.T, p Pins) *inwards {
	t.Helper()
	program, err := ebpf.LoadPinnedProgram(p.Program("b", FromUplink), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	uplink, err := net.InterfaceByName(lab.Uplink)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, p, bpf.DatapathMapFoUplinks, map[bpf.DatapathUplinkKey]bpf.DatapathUplinkEntry{
		{Ifindex: uint32(uplink.Index)}: {
			Source4: uplinkAddr.As4(), Mtu: 1500, PortFirst: 1024, PortLast: 32767,
			Lookups: bpf.DatapathUplinkLookupsUPLINK_TUPLES,
		},
	})
	return &inwards{p, program, uplink}
}

// live sends a reply to a session that is so. One that is found is dropped, since its endpoint is not there.
func (in *inwards) live(t *testing.T, l life) bool {
	t.Helper()
	remotePort := remoteEnd.Port()
	if l.proto == unix.IPPROTO_ICMP {
		remotePort = 0
	}
	const outsidePort = 5000
	e := sessionEntry{Outside: uplinkAddr.As4(), OutsidePort: wire(outsidePort), TcpMark: packet.Seq}
	r := bpf.DatapathReplyEntry{Inside: insideEnd.Addr().As4(), InsidePort: wire(insideEnd.Port()), Sessions: 1}
	e.Life.Seen, e.Life.State = now(t)-l.age, l.state
	r.Life = e.Life
	fill(t, in.pins, bpf.DatapathMapFoSessions4, map[sessionKey]sessionEntry{{
		Inside: insideEnd.Addr().As4(), InsidePort: wire(insideEnd.Port()),
		Remote: remoteEnd.Addr().As4(), RemotePort: wire(remotePort), Proto: l.proto,
	}: e})
	fill(t, in.pins, bpf.DatapathMapFoReplies4, map[bpf.DatapathReplyKey]bpf.DatapathReplyEntry{{
		Remote: remoteEnd.Addr().As4(), RemotePort: wire(remotePort), Outside: uplinkAddr.As4(), OutsidePort: wire(outsidePort),
		Proto: l.proto,
	}: r})
	frame := packet.New(layers.IPProtocol(l.proto), packet.Ends{
		SourceMAC: packet.MAC{2, 0, 0, 0, 0, 1}, DestinationMAC: packet.MAC(in.uplink.HardwareAddr),
		Source: remoteEnd, Destination: netip.AddrPortFrom(uplinkAddr, outsidePort),
	}, nil)
	if l.proto == unix.IPPROTO_ICMP {
		frame.ICMP.Id = outsidePort
		frame.ICMP.TypeCode = layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoReply, 0)
	}
	return in.counts(t, bpf.DatapathReasonDROP_NO_ENDPOINT, frame.Bytes())
}

// counts runs the program and tells whether it did so for that reason.
func (in *inwards) counts(t *testing.T, reason bpf.DatapathReason, frame []byte) bool {
	t.Helper()
	before, err := in.pins.Reasons()
	if err != nil {
		t.Fatal(err)
	}
	// struct __sk_buff up to ifindex.
	var context struct {
		_       [10]uint32
		Ifindex uint32
	}
	context.Ifindex = uint32(in.uplink.Index)
	if _, err := in.program.Run(&ebpf.RunOptions{Data: frame, Context: context}); err != nil {
		t.Fatal(err)
	}
	after, err := in.pins.Reasons()
	if err != nil {
		t.Fatal(err)
	}
	return after[FromUplink][reason].Packets > before[FromUplink][reason].Packets
}

// translation is what maps hold of two endpoints: the first has a mapping that two remotes share, one of them by two ports, and an
// open one; the second a session of its own, and a mapping of the same inside port.
type translation struct {
	sessions map[sessionKey]sessionEntry
	replies  map[bpf.DatapathReplyKey]bpf.DatapathReplyEntry
	mappings map[bpf.DatapathMappingKey]bpf.DatapathMappingEntry
	bitmaps  map[bpf.DatapathBitmapKey]bpf.DatapathBitmapEntry
	ports    map[bpf.DatapathPortKey]bpf.DatapathPortEntry
	usage    map[uint32]bpf.DatapathUsageEntry
}

func newTranslation() *translation {
	return &translation{
		sessions: map[sessionKey]sessionEntry{},
		replies:  map[bpf.DatapathReplyKey]bpf.DatapathReplyEntry{},
		mappings: map[bpf.DatapathMappingKey]bpf.DatapathMappingEntry{},
		bitmaps:  map[bpf.DatapathBitmapKey]bpf.DatapathBitmapEntry{},
		ports:    map[bpf.DatapathPortKey]bpf.DatapathPortEntry{},
		usage:    map[uint32]bpf.DatapathUsageEntry{},
	}
}

// add makes a session as the programs do, of the endpoint whose number is the last octet of its address.
func (tr *translation) add(inside, remote netip.AddrPort, outsidePort uint16, flags bpf.DatapathSessionFlags, seen uint32) {
	key := sessionKey{
		Inside: inside.Addr().As4(), InsidePort: wire(inside.Port()), Remote: remote.Addr().As4(), RemotePort: wire(remote.Port()),
		Proto: unix.IPPROTO_UDP,
	}
	number := uint32(key.Inside[3])
	e := sessionEntry{Outside: uplinkAddr.As4(), OutsidePort: wire(outsidePort), Endpoint: uint16(number), Flags: flags}
	e.Life.Seen, e.Life.State = seen, established
	tr.sessions[key] = e
	used := tr.usage[number]
	used.Sessions++
	used.Bucket.Level = 7
	mapped := flags&bpf.DatapathSessionFlagsSESSION_MAPPED != 0
	if mapped {
		mk := bpf.DatapathMappingKey{Inside: key.Inside, InsidePort: key.InsidePort, Outside: e.Outside, Proto: key.Proto}
		m := tr.mappings[mk]
		if m.Sessions++; m.Sessions == 1 {
			used.Mappings++
		}
		m.OutsidePort = e.OutsidePort
		tr.mappings[mk] = m
		b := tr.bitmaps[bpf.DatapathBitmapKey{Outside: e.Outside, Proto: key.Proto}]
		b.Taken[outsidePort/64] |= 1 << (outsidePort % 64)
		tr.bitmaps[bpf.DatapathBitmapKey{Outside: e.Outside, Proto: key.Proto}] = b
	}
	tr.usage[number] = used
	if flags&bpf.DatapathSessionFlagsSESSION_OPEN != 0 {
		tr.ports[bpf.DatapathPortKey{Outside: e.Outside, OutsidePort: e.OutsidePort, Proto: key.Proto}] =
			bpf.DatapathPortEntry{Inside: key.Inside, InsidePort: key.InsidePort}
		return
	}
	rk := bpf.DatapathReplyKey{
		Remote: key.Remote, RemotePort: key.RemotePort, Outside: e.Outside, OutsidePort: e.OutsidePort, Proto: key.Proto,
	}
	if mapped {
		rk.RemotePort = 0
	}
	r := tr.replies[rk]
	r.Inside, r.InsidePort = key.Inside, key.InsidePort
	r.Sessions++
	tr.replies[rk] = r
}

func (tr *translation) fill(t *testing.T, p Pins) {
	t.Helper()
	fill(t, p, bpf.DatapathMapFoSessions4, tr.sessions)
	fill(t, p, bpf.DatapathMapFoReplies4, tr.replies)
	fill(t, p, bpf.DatapathMapFoMappings4, tr.mappings)
	fill(t, p, bpf.DatapathMapFoBitmaps4, tr.bitmaps)
	fill(t, p, bpf.DatapathMapFoPorts4, tr.ports)
	fill(t, p, bpf.DatapathMapFoUsage, tr.usage)
}

// compare wants the maps to hold exactly this, besides sessions that are dead and usage of nothing.
func (tr *translation) compare(t *testing.T, p Pins) {
	t.Helper()
	sameEntries(t, p, bpf.DatapathMapFoSessions4, tr.sessions, func(e sessionEntry) bool { return SessionState(e.Life.State).holds() })
	sameEntries(t, p, bpf.DatapathMapFoReplies4, tr.replies, nil)
	sameEntries(t, p, bpf.DatapathMapFoMappings4, tr.mappings, nil)
	sameEntries(t, p, bpf.DatapathMapFoBitmaps4, tr.bitmaps, func(b bpf.DatapathBitmapEntry) bool { return b != bpf.DatapathBitmapEntry{} })
	sameEntries(t, p, bpf.DatapathMapFoPorts4, tr.ports, nil)
	sameEntries(t, p, bpf.DatapathMapFoUsage, tr.usage,
		func(u bpf.DatapathUsageEntry) bool { return u.Sessions > 0 || u.Mappings > 0 })
}

func sameEntries[K, V comparable](t *testing.T, p Pins, name string, want map[K]V, counts func(V) bool) {
	t.Helper()
	table, err := OpenTable[K, V](p, name)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	got := map[K]V{}
	if err := table.Each(func(k K, v V) {
		if counts == nil || counts(v) {
			got[k] = v
		}
	}); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s has\n%+v\nwant\n%+v", name, got, want)
	}
}

const (
	mapped = bpf.DatapathSessionFlagsSESSION_MAPPED
	open   = bpf.DatapathSessionFlagsSESSION_MAPPED | bpf.DatapathSessionFlagsSESSION_OPEN
	tuple  = bpf.DatapathSessionFlags(0)
)

// addSecond adds what the second endpoint has, which a flush of the first has to leave.
func (tr *translation) addSecond(seen uint32) {
	second := netip.MustParseAddr("10.0.0.2")
	for i := range uint16(2) {
		tr.add(netip.AddrPortFrom(second, 4000), netip.AddrPortFrom(remoteEnd.Addr(), 53+i), 6000, mapped, seen)
	}
	tr.add(netip.AddrPortFrom(second, 4001), remoteEnd, 6001, tuple, seen)
}

// TestForgetAddresses: bitmaps stay of an address that an uplink has, and of one whose mappings are not over.
func TestForgetAddresses(t *testing.T) {
	p := loaded(t, 1024)
	uplinks, busy, gone := uplinkAddr.As4(), [4]byte{203, 0, 113, 77}, [4]byte{203, 0, 113, 78}
	fill(t, p, bpf.DatapathMapFoUplinks, map[bpf.DatapathUplinkKey]bpf.DatapathUplinkEntry{{Ifindex: 7}: {Source4: uplinks}})
	want := map[bpf.DatapathBitmapKey]bpf.DatapathBitmapEntry{
		{Outside: uplinks, Proto: unix.IPPROTO_TCP}: {}, {Outside: busy, Proto: unix.IPPROTO_UDP}: {Taken: [1024]uint64{1023: 1 << 63}},
	}
	fill(t, p, bpf.DatapathMapFoBitmaps4, want)
	fill(t, p, bpf.DatapathMapFoBitmaps4, map[bpf.DatapathBitmapKey]bpf.DatapathBitmapEntry{
		{Outside: busy, Proto: unix.IPPROTO_TCP}: {}, {Outside: gone, Proto: unix.IPPROTO_UDP}: {Uplink: 7},
	})
	if err := p.ForgetAddresses(); err != nil {
		t.Fatal(err)
	}
	sameEntries(t, p, bpf.DatapathMapFoBitmaps4, want, nil)
}

func TestEndSessions(t *testing.T) {
	for _, all := range []bool{false, true} {
		t.Run(fmt.Sprintf("all %v", all), func(t *testing.T) {
			p, seen := loaded(t, 1024), now(t)
			before, want := newTranslation(), newTranslation()
			before.addSecond(seen)
			live := 6
			if !all {
				want.addSecond(seen)
				live = 3
			}
			for i, remote := range []string{"198.51.100.7:53", "198.51.100.7:54", "198.51.100.8:53"} {
				before.add(insideEnd, netip.MustParseAddrPort(remote), 5000, mapped, seen-uint32(i)*200) // the last has expired
			}
			before.add(netip.MustParseAddrPort("10.0.0.1:4001"), remoteEnd, 5001, open, seen)
			before.fill(t, p)
			end := p.EndAllSessions
			if !all {
				end = func() (int, error) { return p.EndSessions(insideEnd.Addr()) }
			}
			ended, err := end()
			if err != nil || ended != live {
				t.Errorf("%d sessions ended, want %d; error %v", ended, live, err)
			}
			want.compare(t, p)
		})
	}
}
