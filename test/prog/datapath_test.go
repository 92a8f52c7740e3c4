// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"net"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"flyover/bpf"
	"flyover/test/packet"
)

// options are what a test wants of its datapath.
type options struct {
	// Sessions is the size of the session tables. Optional.
	Sessions uint32
	// Ports is the range of outside ports, both included. Optional.
	Ports [2]uint16
	// Mapping is what the masqueraded network's outside ports stand for. Optional: endpoint-dependent.
	Mapping mapping
	// Limits of each endpoint. Optional: none.
	Limits limits
	// Isolated is that the masqueraded network is. Optional.
	Isolated bool
	// Unguarded is the endpoint without source guard. Optional.
	Unguarded int
	// Programs is passed to the loader. Optional.
	Programs ebpf.ProgramOptions
}

// Defaults of options.
const (
	defaultSessions = 4096
	defaultFirst    = 20000
	defaultLast     = 29999
	mtu             = 1500
)

// mapping is how a network maps and filters.
type mapping int

const (
	dependent   mapping = iota // one outside port for each tuple
	independent                // one for each inside port; remotes that it has sent to may answer from any port
	openFilter                 // the same, and anybody may send to it
)

func (m mapping) String() string {
	return [...]string{"endpoint-dependent", "endpoint-independent", "open filter"}[m]
}

func (m mapping) network() bpf.DatapathNetworkFlags {
	const flags = bpf.DatapathNetworkFlagsNETWORK_MASQUERADE
	switch m {
	case dependent:
		return flags | bpf.DatapathNetworkFlagsNETWORK_ENDPOINT_DEPENDENT
	case openFilter:
		return flags | bpf.DatapathNetworkFlagsNETWORK_OPEN_FILTER
	}
	return flags
}

func (m mapping) uplink() bpf.DatapathUplinkLookups {
	switch m {
	case dependent:
		return bpf.DatapathUplinkLookupsUPLINK_TUPLES
	case openFilter:
		return bpf.DatapathUplinkLookupsUPLINK_PORTS
	}
	return 0
}

// overMappings runs test with each.
func overMappings(t *testing.T, test func(*testing.T, mapping)) {
	for _, m := range []mapping{dependent, independent, openFilter} {
		t.Run(m.String(), func(t *testing.T) { test(t, m) })
	}
}

// limits of an endpoint; 0 is none.
type limits struct{ sessions, mappings, rate, burst, broadcasts uint32 }

// datapath is one copy of the programs with maps of its own, and the test host that their tables describe.
type datapath struct {
	*host
	bpf.DatapathObjects
	six     bpf.Datapath6Objects
	ports   [2]uint16
	mapping mapping
	limits  limits
	// isolated is the masqueraded network.
	isolated bool
	// unguarded is the endpoint without source guard, 0 if there is none.
	unguarded int
	// outlived says that sessions may have shared index entries with others that are gone, whose lives are in the entries still.
	outlived bool
}

func load(t testing.TB, opts options) *datapath {
	t.Helper()
	if opts.Sessions == 0 {
		opts.Sessions = defaultSessions
	}
	if opts.Ports == [2]uint16{} {
		opts.Ports = [2]uint16{defaultFirst, defaultLast}
	}
	d := &datapath{host: needHost(t), ports: opts.Ports, mapping: opts.Mapping, limits: opts.Limits, isolated: opts.Isolated,
		unguarded: opts.Unguarded}
	spec, err := bpf.LoadDatapath()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{bpf.DatapathMapFoSessions4, bpf.DatapathMapFoReplies4, bpf.DatapathMapFoExpiry4} {
		spec.Maps[name].MaxEntries = opts.Sessions
	}
	for _, name := range []string{bpf.DatapathMapFoMappings4, bpf.DatapathMapFoPorts4} {
		spec.Maps[name].MaxEntries = min(spec.Maps[name].MaxEntries, opts.Sessions)
	}
	if err := spec.LoadAndAssign(&d.DatapathObjects, &ebpf.CollectionOptions{Programs: opts.Programs}); err != nil {
		t.Fatalf("load: %+v", err)
	}
	t.Cleanup(func() { d.Close() })
	d.loadTwins(t, opts)
	d.fillTranslation(t)
	d.fillNetworks(t)
	for id := range d.endpoints[1:] {
		d.fillEndpoint(t, uint32(id+1))
	}
	return d
}

// loadTwins loads the programs for IPv6, which share what is not one family's alone.
func (d *datapath) loadTwins(t testing.TB, opts options) {
	t.Helper()
	spec, err := bpf.LoadDatapath6()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{bpf.Datapath6MapFoSessions6, bpf.Datapath6MapFoReplies6, bpf.Datapath6MapFoExpiry6} {
		spec.Maps[name].MaxEntries = opts.Sessions
	}
	shared := map[string]*ebpf.Map{
		bpf.DatapathMapFoDatagramIds: d.FoDatagramIds,
		bpf.DatapathMapFoEndpoints:   d.FoEndpoints,
		bpf.DatapathMapFoExhausted:   d.FoExhausted,
		bpf.DatapathMapFoFdb:         d.FoFdb,
		bpf.DatapathMapFoNetworks:    d.FoNetworks,
		bpf.DatapathMapFoReasons:     d.FoReasons,
		bpf.DatapathMapFoTraffic:     d.FoTraffic,
		bpf.DatapathMapFoUplinks:     d.FoUplinks,
		bpf.DatapathMapFoUsage:       d.FoUsage,
	}
	if len(shared) != len(bpf.SharedMaps()) {
		t.Fatalf("%d maps are shared, want %v", len(shared), bpf.SharedMaps())
	}
	if err := spec.LoadAndAssign(&d.six, &ebpf.CollectionOptions{Programs: opts.Programs, MapReplacements: shared}); err != nil {
		t.Fatalf("load: %+v", err)
	}
	put(t, d.FoTwins, bpf.DatapathHookHOOK_FROM_ENDPOINT, d.six.FromEndpoint)
	put(t, d.FoTwins, bpf.DatapathHookHOOK_FROM_UPLINK, d.six.FromUplink)
	put(t, d.FoTwins, bpf.DatapathHookHOOK_TO_UPLINK, d.six.ToUplink)
}

// Close releases the programs and maps of both families.
func (d *datapath) Close() error { return errors.Join(d.DatapathObjects.Close(), d.six.Close()) }

func (d *datapath) fillNetworks(t testing.TB) {
	t.Helper()
	put(t, d.FoNetworks, uint32(routed), bpf.DatapathNetworkEntry{
		Gateway4: routedGateway.As4(), Subnet4: routedSubnet.Addr().As4(), Mask4: maskOf(routedSubnet),
		Bridge: d.bridge, Mtu: mtu, Flags: bpf.DatapathNetworkFlagsNETWORK_ROUTED | d.unguardedFlag(routed), GatewayMac: gatewayMAC,
		Subnet6: routedSubnet6.Addr().As16(), Mask6: mask6Of(routedSubnet6),
	})
	put(t, d.FoNeighbours4, bpf.DatapathNeighbourKey{Network: masqueraded, Addr: gatewayAddr.As4()},
		bpf.DatapathNeighbourEntry{Mac: gatewayMAC, Ifindex: d.bridge})
	for network, p := range map[uint32]netip.Prefix{masqueraded: subnet, routed: routedSubnet} {
		put(t, d.FoSubnets4, bpf.DatapathSubnetKey{PrefixLen: uint32(p.Bits()), Addr: p.Addr().As4()},
			bpf.DatapathSubnetEntry{Network: network})
	}
	for network, p := range map[uint32]netip.Prefix{masqueraded: subnet6, routed: routedSubnet6} {
		put(t, d.six.FoSubnets6, bpf.Datapath6SubnetKey{PrefixLen: uint32(p.Bits()), Addr: p.Addr().As16()},
			bpf.DatapathSubnetEntry{Network: network})
	}
	d.fillNeighbour6(t, masqueraded, gateway6, gatewayMAC, d.bridge)
}

// fillNeighbour6 says that the address, and the link-local one of the MAC, are at the interface.
func (d *datapath) fillNeighbour6(t testing.TB, network uint32, addr netip.Addr, mac packet.MAC, ifindex uint32) {
	t.Helper()
	for _, a := range []netip.Addr{addr, packet.LinkLocal(mac)} {
		put(t, d.six.FoNeighbours6, bpf.Datapath6NeighbourKey{Network: network, Addr: a.As16()},
			bpf.DatapathNeighbourEntry{Mac: mac, Ifindex: ifindex})
	}
}

func (d *datapath) fillEndpoint(t testing.TB, id uint32) {
	t.Helper()
	e := d.endpoints[id]
	put(t, d.FoEndpoints, bpf.DatapathEndpointKey{Ifindex: e.ifindex},
		bpf.DatapathEndpointEntry{
			Id: id, Network: e.network, Addr4: e.addr.As4(), Mac: e.mac, Addr6: e.addr6.As16(),
			SessionsMax: d.limits.sessions, MappingsMax: d.limits.mappings, SessionsRate: d.limits.rate, SessionsBurst: d.limits.burst,
			BroadcastsRate: d.limits.broadcasts, Unguarded: int(id) == d.unguarded,
		})
	put(t, d.FoFdb, bpf.DatapathFdbKey{Network: e.network, Mac: e.mac},
		bpf.DatapathFdbEntry{Ifindex: e.ifindex, Endpoint: id})
	put(t, d.FoNeighbours4, bpf.DatapathNeighbourKey{Network: e.network, Addr: e.addr.As4()},
		bpf.DatapathNeighbourEntry{Mac: e.mac, Ifindex: e.ifindex})
	d.fillNeighbour6(t, e.network, e.addr6, e.mac, e.ifindex)
}

// unguardedFlag is that of the network of the endpoint without source guard.
func (d *datapath) unguardedFlag(network uint32) bpf.DatapathNetworkFlags {
	if d.unguarded != 0 && d.endpoints[d.unguarded].network == network {
		return bpf.DatapathNetworkFlagsNETWORK_UNGUARDED
	}
	return 0
}

// fillTranslation says how the masqueraded network is translated, with d's ports.
func (d *datapath) fillTranslation(t testing.TB) {
	t.Helper()
	flags := d.mapping.network() | d.unguardedFlag(masqueraded)
	if !d.isolated {
		flags |= bpf.DatapathNetworkFlagsNETWORK_ROUTED
	}
	put(t, d.FoNetworks, uint32(masqueraded), bpf.DatapathNetworkEntry{
		Gateway4: gatewayAddr.As4(), Subnet4: subnet.Addr().As4(), Mask4: maskOf(subnet),
		Bridge: d.bridge, Mtu: mtu, Flags: flags, GatewayMac: gatewayMAC,
		PortFirst: d.ports[0], PortLast: d.ports[1],
		Gateway6: gateway6.As16(), Subnet6: subnet6.Addr().As16(), Mask6: mask6Of(subnet6),
	})
	d.fillUplink(t, d.uplink, outsideAddr)
}

func (d *datapath) fillUplink(t testing.TB, ifindex uint32, source netip.Addr) {
	t.Helper()
	put(t, d.FoUplinks, bpf.DatapathUplinkKey{Ifindex: ifindex}, bpf.DatapathUplinkEntry{
		Source4: source.As4(), Source6: outsideAddr6.As16(), Mtu: mtu, PortFirst: d.ports[0], PortLast: d.ports[1], Lookups: d.mapping.uplink(),
	})
}

func put(t testing.TB, m *ebpf.Map, key, value any) {
	t.Helper()
	if err := m.Put(key, value); err != nil {
		t.Fatalf("put into %v: %v", m, err)
	}
}

func maskOf(p netip.Prefix) [4]byte { return [4]byte(net.CIDRMask(p.Bits(), 32)) }

// be16 turns a port into the big-endian field of a map entry, and back.
func be16(v uint16) uint16 {
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		return v
	}
	return bits.ReverseBytes16(v)
}

// sent is a packet of endpoint id to a remote, by way of its gateway.
func (d *datapath) sent(id int, port uint16, remote netip.AddrPort) packet.Ends {
	e := d.endpoints[id]
	source := e.addr
	if remote.Addr().Is6() {
		source = e.addr6
	}
	return packet.Ends{
		SourceMAC: e.mac, DestinationMAC: gatewayMAC,
		Source: netip.AddrPortFrom(source, port), Destination: remote,
	}
}

// arrived is a packet from a remote that arrives on the uplink.
func (d *datapath) arrived(remote netip.AddrPort, port uint16) packet.Ends {
	outside := outsideAddr
	if remote.Addr().Is6() {
		outside = outsideAddr6
	}
	return packet.Ends{
		SourceMAC: packet.MAC{0x02, 0xee, 0, 0, 0, 1}, DestinationMAC: d.uplinkMAC,
		Source: remote, Destination: netip.AddrPortFrom(outside, port),
	}
}

// remote is a remote of most tests at the port.
func remote(port uint16) netip.AddrPort { return netip.AddrPortFrom(remoteAddr, port) }

func mask6Of(p netip.Prefix) [16]byte { return [16]byte(net.CIDRMask(p.Bits(), 128)) }
