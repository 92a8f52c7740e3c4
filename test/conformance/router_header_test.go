// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// malformed is a frame whose IPv4 header, or what has to be behind it, is wrong, and the payload to know it by.
type malformed struct {
	name  string
	mark  []byte
	frame []byte
}

// malformedOf makes the cases of RFC 1812 section 5.2.2 of packets of one direction. Each header's checksum is right but for
// the one that is about checksums.
func malformedOf(p *path, s side) []malformed {
	var all []malformed
	add := func(name string, change func(data []byte) []byte) {
		mark := p.mark()
		all = append(all, malformed{name, mark, change(s.make(mark).Bytes())})
	}
	set := func(at int, value byte) func(data []byte) []byte {
		return func(data []byte) []byte { return header(data, func(ip []byte) { ip[at] = value }) }
	}
	add("header length 16", set(0, 0x44))
	add("version 5", set(0, 0x55))
	add("total length larger than the frame", set(3, 200))
	add("total length smaller than the header", set(3, 16))
	add("header checksum", func(data []byte) []byte { return flip(data, 24) })
	add("UDP without a header", func(data []byte) []byte { return cut(data, 0) })
	add("UDP with half a header", func(data []byte) []byte { return cut(data, 4) })
	return all
}

// cut leaves n octets behind the IPv4 header of a frame.
func cut(data []byte, n int) []byte {
	return header(data[:34+n], func(ip []byte) { ip[2], ip[3] = 0, byte(20+n) })
}

func checkHeaders(_ *testing.T, h *host) {
	h.upDefault()
	p := openPath(h)
	for _, s := range p.sides() {
		for _, m := range malformedOf(p, s) {
			h.part(s.name+", "+m.name, func() {
				other := func(f frame) bool { return isOther(f, m.mark) }
				passed, dropped := len(s.at.All(other)), h.dropped()
				s.send(m.frame)
				p.fence()
				if found := s.at.All(other)[passed:]; len(found) > 0 {
					h.t.Logf("received: %s", found[0])
					h.Failf("passes")
				}
				if h.dropped() == dropped {
					h.Failf("is not counted")
				}
			})
		}
	}
}

// isOther matches received frames that claim to be IPv4 for one receiver and have a mark, or none, but not another one.
func isOther(f frame, mark []byte) bool {
	data := f.Data()
	if f.Sent || len(data) < 14 || data[0]&1 > 0 || data[12] != 8 || data[13] != 0 {
		return false
	}
	return bytes.Contains(data, mark) || !bytes.Contains(data, []byte("<mark "))
}

// dropped is how many packets flyover and the kernel have counted as dropped on the host.
func (h *host) dropped() uint64 {
	h.t.Helper()
	var n uint64
	for reason, packets := range h.reasons() {
		if strings.HasPrefix(reason, "DROP_") {
			n += packets
		}
	}
	counters := h.counters()
	for _, name := range []string{"InHdrErrors", "InAddrErrors", "InDiscards", "InTruncatedPkts", "InNoRoutes", "InErrors"} {
		n += counters[name]
	}
	return n
}

// counters are the kernel's of IPv4 and UDP on the host; InErrors is UDP's. Those of IPv6 have names with a 6.
func (h *host) counters() map[string]uint64 {
	h.t.Helper()
	counters := map[string]uint64{}
	// A thread's, as the process's namespace is that of its first thread, which may be anywhere.
	for _, file := range []string{"/proc/thread-self/net/snmp", "/proc/thread-self/net/netstat"} {
		data, err := os.ReadFile(file)
		if err != nil {
			h.t.Fatal(err)
		}
		lines := strings.Split(string(data), "\n")
		for i := 0; i+1 < len(lines); i += 2 { // names, then values
			addCounters(counters, strings.Fields(lines[i]), strings.Fields(lines[i+1]))
		}
	}
	data, err := os.ReadFile("/proc/thread-self/net/snmp6")
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) { // name and value
		if name := strings.Fields(line); strings.Contains(name[0], "6") {
			counters[name[0]], _ = strconv.ParseUint(name[1], 10, 64)
		}
	}
	return counters
}

func addCounters(counters map[string]uint64, names, values []string) {
	if len(names) == 0 || !slices.Contains([]string{"Ip:", "IpExt:", "Udp:"}, names[0]) {
		return
	}
	for i, name := range names[1:] {
		counters[name], _ = strconv.ParseUint(values[i+1], 10, 64)
	}
}
