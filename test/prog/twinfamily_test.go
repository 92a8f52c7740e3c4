// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"errors"
	"net/netip"
	"reflect"

	"github.com/cilium/ebpf"

	"flyover/bpf"
	"flyover/test/model"
	"flyover/test/packet"
)

// addresses are those of one family on the test host, and remotes that its routing table treats differently.
type addresses struct {
	etherType            uint16
	gateway, outside     netip.Addr
	subnet, routed       netip.Prefix // the networks'
	nextHop, router      netip.Addr
	onLink               netip.Prefix // the uplink's own segment
	remotes              []netip.Addr
	elsewhere            netip.Prefix
	elsewhereAddr        netip.Addr
	unroutable           netip.Addr
	exempt               netip.Prefix // what sees inside addresses
	nobody, nobodyInside netip.Addr   // of the subnet, and nobody's
	group                netip.Addr
	of                   func(endpoint) netip.Addr
}

var (
	addresses4 = addresses{
		etherType: 0x0800, gateway: gatewayAddr, outside: outsideAddr, subnet: subnet, routed: routedSubnet, nextHop: nextHop, router: routerAddr,
		onLink:    netip.PrefixFrom(outsideAddr, 24).Masked(),
		remotes:   []netip.Addr{remoteAddr, netip.MustParseAddr("198.51.100.8"), nextHop},
		elsewhere: elsewhere, elsewhereAddr: elsewhereAddr, unroutable: unroutableAddr,
		exempt: netip.MustParsePrefix("198.51.100.128/25"), nobody: nobody, nobodyInside: netip.MustParseAddr("192.168.15.99"),
		group: netip.MustParseAddr("224.0.0.1"), of: func(e endpoint) netip.Addr { return e.addr },
	}
	addresses6 = addresses{
		etherType: 0x86dd, gateway: gateway6, outside: outsideAddr6, subnet: subnet6, routed: routedSubnet6, nextHop: nextHop6,
		router:    netip.MustParseAddr("2001:db8:7::ff"),
		onLink:    netip.PrefixFrom(outsideAddr6, 64).Masked(),
		remotes:   []netip.Addr{remoteAddr6, netip.MustParseAddr("2001:db8:7::8"), nextHop6},
		elsewhere: elsewhere6, elsewhereAddr: elsewhereAddr6, unroutable: unroutableAddr6,
		exempt: netip.MustParsePrefix("2001:db8:9::/48"), nobody: nobody6, nobodyInside: netip.MustParseAddr("fd00:15::99"),
		group: netip.MustParseAddr("ff02::1"), of: func(e endpoint) netip.Addr { return e.addr6 },
	}
)

// routeOf is the routing table that makeHost and the lab have made.
func (a *addresses) routeOf(to netip.Addr) model.Route {
	switch {
	case to == a.outside || to == a.unroutable || isBroadcast(a.onLink, to) || isBroadcast(a.elsewhere, to):
		return model.Route{}
	case a.elsewhere.Masked().Contains(to):
		if to == a.elsewhere.Addr() {
			return model.Route{}
		}
		return model.Route{Way: model.Elsewhere}
	case a.onLink.Contains(to):
		return model.Route{Way: model.Uplink, NextHop: to}
	}
	return model.Route{Way: model.Uplink, NextHop: a.nextHop}
}

// leadsOut says whether a host with these networks would send to the address by the uplink.
func (a *addresses) leadsOut(to netip.Addr) bool {
	return a.routeOf(to).Way == model.Uplink && !a.subnet.Contains(to) && !a.routed.Contains(to)
}

// isBroadcast says whether it is the last address of a prefix of IPv4.
func isBroadcast(p netip.Prefix, a netip.Addr) bool {
	if a.Is6() {
		return false
	}
	last := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	return a == netip.AddrFrom4(last)
}

// family is a datapath's half for one address family, and the model of it.
type family struct {
	*twin
	addresses
	model  *model.Model
	tables tables
}

func (w *twin) newFamily(a addresses, t tables, sockets map[uint16]bool) *family {
	f := &family{twin: w, addresses: a, tables: t}
	f.model = model.New(model.Config{
		Mapping: model.Mapping(w.mapping), Limits: model.Limits{
			Sessions: w.limits.sessions, Mappings: w.limits.mappings, Rate: w.limits.rate, Burst: w.limits.burst,
			Broadcasts: w.limits.broadcasts,
		},
		Entries: int(t.sessions.MaxEntries()), Range: w.ports, Subnet: a.subnet, Gateway: a.gateway,
		GatewayMAC: model.MAC(gatewayMAC), Outside: a.outside, UplinkMAC: model.MAC(w.uplinkMAC), MTU: mtu, Exempt: a.exempt, Isolated: w.isolated,
		Endpoints: f.modelEndpoints(), HostPorts: sockets, Route: f.routeOf,
	}, f)
	return f
}

func (w *family) modelEndpoints() map[int]model.Endpoint {
	all := map[int]model.Endpoint{}
	for id, e := range w.endpoints {
		if id == 0 {
			continue
		}
		network := map[uint32]netip.Prefix{masqueraded: w.subnet, routed: w.routed}[e.network]
		all[id] = model.Endpoint{Addr: w.of(e), MAC: model.MAC(e.mac), Subnet: network, Masqueraded: e.network == masqueraded,
			Unguarded: id == w.unguarded}
	}
	return all
}

// addrOf is the endpoint's address.
func (w *family) addrOf(id int) netip.Addr { return w.of(w.endpoints[id]) }

func (w *family) isSix() bool { return w.outside.Is6() }

// baseHeader is how many octets an IP header has at least.
func (w *family) baseHeader() int {
	if w.isSix() {
		return 40
	}
	return 20
}

// table is a map of one family, whose keys and values are asked for as those of IPv6. An address of IPv4 fills the first octets of one.
type table struct {
	*ebpf.Map
	key, value reflect.Type // what they really are
}

func tableOf[K, V any](m *ebpf.Map) table {
	return table{m, reflect.TypeFor[K](), reflect.TypeFor[V]()}
}

// tables are those of which each family has its own.
type tables struct{ sessions, replies, mappings, ports, bitmaps, datagrams, expiry, pressed, held table }

func (w *twin) tables4() tables {
	return tables{
		sessions:  tableOf[sessionKey, sessionEntry](w.FoSessions4),
		replies:   tableOf[replyKey, replyEntry](w.FoReplies4),
		mappings:  tableOf[mappingKey, mappingEntry](w.FoMappings4),
		ports:     tableOf[portKey, portEntry](w.FoPorts4),
		bitmaps:   tableOf[bpf.DatapathBitmapKey, bpf.DatapathBitmapEntry](w.FoBitmaps4),
		datagrams: tableOf[bpf.DatapathDatagramKey, bpf.DatapathDatagramEntry](w.FoDatagrams4),
		expiry:    tableOf[struct{}, sessionKey](w.FoExpiry4),
		pressed:   tableOf[uint32, bpf.DatapathPressedEntry](w.FoPressed4),
		held:      tableOf[uint32, bpf.DatapathHeldEntry](w.FoHeld),
	}
}

func (w *twin) tables6() tables {
	six := &w.datapath.six
	return tables{
		sessions:  tableOf[sessionKey6, sessionEntry6](six.FoSessions6),
		replies:   tableOf[replyKey6, replyEntry6](six.FoReplies6),
		mappings:  tableOf[mappingKey6, mappingEntry6](six.FoMappings6),
		ports:     tableOf[portKey6, portEntry6](six.FoPorts6),
		bitmaps:   tableOf[bitmapKey6, bitmapEntry6](six.FoBitmaps6),
		datagrams: tableOf[datagramKey6, datagramEntry6](six.FoDatagrams6),
		expiry:    tableOf[struct{}, sessionKey6](six.FoExpiry6),
		pressed:   tableOf[uint32, bpf.Datapath6PressedEntry](six.FoPressed6),
		held:      tableOf[uint32, bpf.Datapath6HeldEntry](six.FoHeld),
	}
}

type (
	sessionKey6    = bpf.Datapath6SessionKey
	sessionEntry6  = bpf.Datapath6SessionEntry
	replyKey6      = bpf.Datapath6ReplyKey
	replyEntry6    = bpf.Datapath6ReplyEntry
	mappingKey6    = bpf.Datapath6MappingKey
	mappingEntry6  = bpf.Datapath6MappingEntry
	portKey6       = bpf.Datapath6PortKey
	portEntry6     = bpf.Datapath6PortEntry
	bitmapKey6     = bpf.Datapath6BitmapKey
	bitmapEntry6   = bpf.Datapath6BitmapEntry
	datagramKey6   = bpf.Datapath6DatagramKey
	datagramEntry6 = bpf.Datapath6DatagramEntry
)

// octets is an address as the tables for IPv6 have it; of IPv4 the first four, and the others 0.
func octets(a netip.Addr) (all [16]byte) {
	copy(all[:], a.AsSlice())
	return all
}

// copyFields copies fields to those of the same name, of arrays what both have.
func copyFields(to, from reflect.Value) {
	switch {
	case to.Type() == from.Type():
		to.Set(from)
	case to.Kind() == reflect.Struct:
		for i := range to.NumField() {
			name := to.Type().Field(i).Name
			if f := from.FieldByName(name); name != "_" && f.IsValid() {
				copyFields(to.Field(i), f)
			}
		}
	case to.Kind() == reflect.Array:
		reflect.Copy(to, from)
	default:
		to.Set(from.Convert(to.Type()))
	}
}

// as is the value as another type of much the same fields.
func as(t reflect.Type, value any) reflect.Value {
	v := reflect.New(t)
	copyFields(v.Elem(), reflect.ValueOf(value))
	return v
}

// lookup is the entry of a key, nil if there is none.
func lookup[V, K any](w *twin, t table, key K) *V {
	found := reflect.New(t.value)
	if err := t.Lookup(as(t.key, key).Interface(), found.Interface()); err != nil {
		if !errors.Is(err, ebpf.ErrKeyNotExist) {
			w.t.Fatalf("look up in %v: %v", t.Map, err)
		}
		return nil
	}
	if v, ok := found.Interface().(*V); ok {
		return v
	}
	return as(reflect.TypeFor[V](), found.Elem().Interface()).Interface().(*V)
}

// everything is what the table holds.
func everything[K comparable, V any](t table) map[K]V {
	all := map[K]V{}
	key, value := reflect.New(t.key), reflect.New(t.value)
	for it := t.Iterate(); it.Next(key.Interface(), value.Interface()); {
		k, v := as(reflect.TypeFor[K](), key.Elem().Interface()), as(reflect.TypeFor[V](), value.Elem().Interface())
		all[*k.Interface().(*K)] = *v.Interface().(*V)
	}
	return all
}

// outsideMAC is that of whoever is behind the uplink.
var outsideMAC = packet.MAC{0x02, 0xee, 0, 0, 0, 1}
