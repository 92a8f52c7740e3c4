// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// link is one interface as a dump has it: what we look at of netlink.Link, and what the library leaves out.
type link struct {
	netlink.LinkAttrs
	kind string
	// stp is the bridge's, learning and flood the bridge port's.
	stp, learning, flood bool
	// six are the settings below net/ipv6/conf of an interface that has IPv6, as Static6 names them.
	six map[string]int
}

var _ netlink.Link = (*link)(nil)

// Attrs implements netlink.Link.
func (l *link) Attrs() *netlink.LinkAttrs { return &l.LinkAttrs }

// Type implements netlink.Link.
func (l *link) Type() string { return l.kind }

// links returns the interfaces by each of their names.
func (r *reader) links() (map[string]*link, error) {
	body := (&nl.IfInfomsg{}).Serialize()
	const skipStatistics = 1 << 3 // RTEXT_FILTER_SKIP_STATS: they are most of each message
	body = append(body, nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStatistics)).Serialize()...)
	messages, err := r.table(unix.RTM_GETLINK, body)
	byName := make(map[string]*link, len(messages))
	for _, m := range messages {
		l := parseLink(m)
		byName[l.Name] = l
		for _, name := range l.AltNames {
			byName[name] = l
		}
	}
	return byName, cause("list interfaces", err)
}

func parseLink(m []byte) *link {
	l := &link{kind: "device"}
	if len(m) < unix.SizeofIfInfomsg {
		return l
	}
	l.Index, l.RawFlags = number(m[4:]), uint32(number(m[8:]))
	attributes(m[unix.SizeofIfInfomsg:], func(typ uint16, value []byte) {
		switch typ {
		case unix.IFLA_IFNAME:
			l.Name = text(value)
		case unix.IFLA_IFALIAS:
			l.Alias = text(value)
		case unix.IFLA_ADDRESS:
			l.HardwareAddr = net.HardwareAddr(value)
		case unix.IFLA_MTU:
			l.MTU = number(value)
		case unix.IFLA_LINK:
			l.ParentIndex = number(value)
		case unix.IFLA_GROUP:
			l.Group = uint32(number(value))
		case unix.IFLA_MASTER:
			l.MasterIndex = number(value)
		case unix.IFLA_PROP_LIST:
			attributes(value, func(_ uint16, name []byte) { l.AltNames = append(l.AltNames, text(name)) })
		case unix.IFLA_LINKINFO:
			attributes(value, l.parseInfo)
		case unix.IFLA_AF_SPEC:
			attributes(value, l.parseFamily)
		}
	})
	return l
}

func (l *link) parseInfo(typ uint16, value []byte) {
	switch typ {
	case nl.IFLA_INFO_KIND:
		l.kind = text(value)
	case nl.IFLA_INFO_DATA: // of this kind, which the kernel puts first
		attributes(value, func(typ uint16, value []byte) {
			l.stp = l.stp || l.kind == "bridge" && typ == nl.IFLA_BR_STP_STATE && number(value) != 0
		})
	case nl.IFLA_INFO_SLAVE_DATA:
		attributes(value, func(typ uint16, value []byte) {
			on := len(value) == 1 && value[0] != 0
			l.learning = l.learning || typ == nl.IFLA_BRPORT_LEARNING && on
			l.flood = l.flood || typ == nl.IFLA_BRPORT_UNICAST_FLOOD && on
		})
	}
}

// settings6 are the places of settings in the list that the kernel gives of them, IFLA_INET6_CONF.
var settings6 = map[string]int{"accept_ra": 3, "disable_ipv6": 26, "accept_dad": 27}

func (l *link) parseFamily(family uint16, value []byte) {
	const settings, generation = 2, 8 // IFLA_INET6_CONF, IFLA_INET6_ADDR_GEN_MODE
	if family != unix.AF_INET6 {
		return
	}
	l.six = map[string]int{}
	attributes(value, func(typ uint16, value []byte) {
		switch typ {
		case settings:
			for name, place := range settings6 {
				if len(value) >= 4*(place+1) {
					l.six[name] = number(value[4*place:])
				}
			}
		case generation:
			if len(value) == 1 {
				l.six["addr_gen_mode"] = int(value[0])
			}
		}
	})
}

// speaks6 says whether the interface has IPv6, and takes part in it.
func (l *link) speaks6() bool {
	disabled, has := l.six["disable_ipv6"]
	return has && disabled == 0
}

func text(value []byte) string { return string(bytes.TrimRight(value, "\x00")) }

// addresses returns the addresses of each interface, by its index.
func (r *reader) addresses() (map[int][]netip.Prefix, error) {
	messages, err := r.table(unix.RTM_GETADDR, nl.NewIfAddrmsg(unix.AF_UNSPEC).Serialize())
	byIndex := map[int][]netip.Prefix{}
	for _, m := range messages {
		if len(m) < unix.SizeofIfAddrmsg {
			continue
		}
		var own, peer netip.Addr // the same, and one of them missing, unless it is a point-to-point link
		attributes(m[unix.SizeofIfAddrmsg:], func(typ uint16, value []byte) {
			switch typ {
			case unix.IFA_LOCAL:
				own = addrOf(value)
			case unix.IFA_ADDRESS:
				peer = addrOf(value)
			}
		})
		if !own.IsValid() {
			own = peer
		}
		index := number(m[4:])
		byIndex[index] = append(byIndex[index], netip.PrefixFrom(own, int(m[1])))
	}
	return byIndex, cause("list addresses", err)
}

// route is one of the main table.
type route struct {
	destination netip.Prefix
	gateway     netip.Addr
	index       int
	metric      int
	// multipath routes have several gateways and interfaces, none of which is given here.
	multipath bool
}

// routes returns the main table, of both families.
func (r *reader) routes() ([]route, error) {
	messages, err := r.table(unix.RTM_GETROUTE, (&nl.RtMsg{}).Serialize())
	var routes []route
	for _, m := range messages {
		if rt, main := parseRoute(m); main {
			routes = append(routes, rt)
		}
	}
	return routes, cause("list routes", err)
}

func parseRoute(m []byte) (rt route, main bool) {
	if len(m) < unix.SizeofRtMsg || m[0] != unix.AF_INET && m[0] != unix.AF_INET6 {
		return rt, false
	}
	destination := netip.IPv4Unspecified()
	if m[0] == unix.AF_INET6 {
		destination = netip.IPv6Unspecified()
	}
	table, flags := int(m[4]), number(m[8:])
	attributes(m[unix.SizeofRtMsg:], func(typ uint16, value []byte) {
		switch typ {
		case unix.RTA_DST:
			destination = addrOf(value)
		case unix.RTA_GATEWAY:
			rt.gateway = addrOf(value)
		case unix.RTA_OIF:
			rt.index = number(value)
		case unix.RTA_PRIORITY:
			rt.metric = number(value)
		case unix.RTA_TABLE:
			table = number(value)
		case unix.RTA_MULTIPATH:
			rt.multipath = true
		}
	})
	rt.destination = netip.PrefixFrom(destination, int(m[1]))
	return rt, table == unix.RT_TABLE_MAIN && flags&unix.RTM_F_CLONED == 0
}

// neighbourKey is the place of an entry in the neighbour tables, fdbKey that of one in a bridge's forwarding table.
type (
	neighbourKey struct {
		index   int
		address netip.Addr
	}
	fdbKey struct {
		bridge int
		mac    MAC
	}
)

// neighbourEntry is an entry of either. Its index is that of the device that the address is behind.
type neighbourEntry struct {
	index int
	state uint16
	flags uint8 // NTF_
	mac   MAC
}

// neighbours returns the neighbour tables of both families.
func (r *reader) neighbours() (map[neighbourKey]neighbourEntry, error) {
	return r.neighboursOf(netlink.Ndmsg{})
}

// proxies6 returns the IPv6 addresses that the host answers for at an interface.
func (r *reader) proxies6() (map[neighbourKey]neighbourEntry, error) {
	return r.neighboursOf(netlink.Ndmsg{Family: unix.AF_INET6, Flags: netlink.NTF_PROXY})
}

func (r *reader) neighboursOf(kind netlink.Ndmsg) (map[neighbourKey]neighbourEntry, error) {
	messages, err := r.table(unix.RTM_GETNEIGH, kind.Serialize())
	entries := make(map[neighbourKey]neighbourEntry, len(messages))
	for _, m := range messages {
		var address netip.Addr
		e := parseNeighbour(m, func(typ uint16, value []byte) {
			if typ == netlink.NDA_DST {
				address = addrOf(value)
			}
		})
		entries[neighbourKey{e.index, address}] = e
	}
	return entries, cause("list neighbours", err)
}

// fdb returns the forwarding tables of all bridges, without what is for one VLAN alone.
func (r *reader) fdb() (map[fdbKey]neighbourEntry, error) {
	messages, err := r.table(unix.RTM_GETNEIGH, (&netlink.Ndmsg{Family: unix.AF_BRIDGE}).Serialize())
	entries := make(map[fdbKey]neighbourEntry, len(messages))
	for _, m := range messages {
		bridge, vlan := 0, false
		e := parseNeighbour(m, func(typ uint16, value []byte) {
			switch typ {
			case netlink.NDA_MASTER:
				bridge = number(value)
			case netlink.NDA_VLAN:
				vlan = true
			}
		})
		if bridge != 0 && !vlan { // without a bridge it is the device's own list of addresses
			entries[fdbKey{bridge, e.mac}] = e
		}
	}
	return entries, cause("list forwarding tables", err)
}

func parseNeighbour(m []byte, other func(typ uint16, value []byte)) (e neighbourEntry) {
	const header = 12 // struct ndmsg
	if len(m) < header {
		return e
	}
	e.index, e.state, e.flags = number(m[4:]), binary.NativeEndian.Uint16(m[8:]), m[10]
	attributes(m[header:], func(typ uint16, value []byte) {
		if typ == netlink.NDA_LLADDR {
			e.mac = macOf(value)
		}
		other(typ, value)
	})
	return e
}
