// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/binary"
	"slices"

	"github.com/gopacket/gopacket/layers"

	"flyover/test/packet"
)

// piece is what a fragment has of a datagram, from one octet of it to before another, which is 0 for the end. All but the end are
// multiples of 8.
type piece struct {
	from, to int
}

// thirds are pieces of a datagram of about 3000 octets.
var thirds = []piece{{0, 1000}, {1000, 2000}, {2000, 0}}

// fragments cuts a whole frame without IPv4 options, or IPv6 extension headers.
func fragments(frame []byte, id uint16, pieces ...piece) [][]byte {
	var all [][]byte
	if frame[14]>>4 == 6 {
		for _, cut := range pieces {
			all = append(all, fragment6(frame, cut, uint32(id)))
		}
		return all
	}
	datagram := frame[34:]
	for _, cut := range pieces {
		offset := uint16(cut.from / 8)
		if cut.to == 0 {
			cut.to = len(datagram)
		} else {
			offset |= 1 << 13 // more fragments (RFC 791 section 3.1)
		}
		data := append(slices.Clone(frame[:34]), datagram[cut.from:cut.to]...)
		all = append(all, header(data, func(ip []byte) {
			binary.BigEndian.PutUint16(ip[2:], uint16(20+cut.to-cut.from))
			binary.BigEndian.PutUint16(ip[4:], id)
			binary.BigEndian.PutUint16(ip[6:], offset)
		}))
	}
	return all
}

// fragment6 is a fragment of what is behind the IPv6 header of a frame (RFC 8200 section 4.5).
func fragment6(frame []byte, cut piece, id uint32) []byte {
	const header = 14 + 40
	datagram := frame[header:]
	value := uint16(cut.from)
	if cut.to == 0 {
		cut.to = len(datagram)
	} else {
		value |= 1 // more fragments
	}
	x := binary.BigEndian.AppendUint16([]byte{frame[20], 0}, value)
	x = binary.BigEndian.AppendUint32(x, id)
	f := slices.Concat(frame[:header], x, datagram[cut.from:cut.to])
	f[20] = byte(layers.IPProtocolIPv6Fragment)
	binary.BigEndian.PutUint16(f[18:], uint16(len(f)-header))
	return f
}

// receivedFragment matches fragments that came in.
func receivedFragment(f frame) bool { return !f.Sent && isFragment(f) }

// extent is where a fragment is in its datagram.
func extent(f frame) piece {
	offset, data := 0, 0
	if x := fragmentHeader(f); x != nil {
		offset, data = int(x.FragmentOffset), len(x.Payload)
	} else {
		offset, data = int(f.IPv4().FragOffset), len(f.IPv4().Payload)
	}
	return piece{offset * 8, offset*8 + data}
}

// fragmentHeader is that of IPv6 (RFC 8200 section 4.5), or nil.
func fragmentHeader(f frame) *layers.IPv6Fragment {
	x, _ := f.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment)
	return x
}

// moreFollow says if a fragment is not the last of its datagram.
func moreFollow(f frame) bool {
	if x := fragmentHeader(f); x != nil {
		return x.MoreFragments
	}
	return f.IPv4().Flags&layers.IPv4MoreFragments > 0
}

// identification is that of a fragment's datagram.
func identification(f frame) uint32 {
	if x := fragmentHeader(f); x != nil {
		return x.Identification
	}
	return uint32(f.IPv4().Id)
}

// isFragment matches fragments, the first included.
func isFragment(f frame) bool {
	ip := f.IPv4()
	return fragmentHeader(f) != nil || ip != nil && (ip.FragOffset > 0 || moreFollow(f))
}

// overlapping says if fragments share octets without being the same.
func overlapping(fragments []frame) bool {
	for i, f := range fragments {
		for _, g := range fragments[:i] {
			a, b := extent(f), extent(g)
			if a != b && a.from < b.to && b.from < a.to {
				return true
			}
		}
	}
	return false
}

// complete says if fragments are all of a datagram.
func complete(fragments []frame) bool {
	sorted := slices.SortedFunc(slices.Values(fragments), func(f, g frame) int { return extent(f).from - extent(g).from })
	covered := 0
	for _, f := range sorted {
		if extent(f).from > covered {
			return false
		}
		covered = max(covered, extent(f).to)
		if !moreFollow(f) {
			return true
		}
	}
	return false
}

// tcpSYN is a frame of ns1 that opens a connection.
func tcpSYN(h *host) []byte {
	o := packet.New(layers.IPProtocolTCP, h.fromNS1(at(h.addr.ns1, 6000).String(), at(h.addr.outside, 80).String()), noise(100))
	o.TCP.SYN, o.TCP.ACK, o.TCP.Ack = true, false, 0
	return o.Bytes()
}

// outOfNS2 is a packet of ns2 to the path's server, from the port that the path has in ns1.
func (p *path) outOfNS2(payload []byte) *packet.Packet {
	return packet.New(layers.IPProtocolUDP, p.h.fromNS2(at(p.h.addr.ns2, 5000).String(), p.remote), payload)
}
