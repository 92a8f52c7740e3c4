// SPDX-License-Identifier: Apache-2.0

package prog

import (
	"testing"

	"github.com/gopacket/gopacket/layers"

	"flyover/bpf"
	"flyover/test/packet"
)

// everybody is a frame of endpoint id that the bridge copies to everybody.
func (d *datapath) everybody(id int, to packet.MAC) []byte {
	p := packet.New(layers.IPProtocolUDP, d.sent(id, 1000, remote(1)), nil)
	p.Ethernet.DstMAC = to[:]
	return p.Bytes()
}

// passed is how many of n such frames the program lets the bridge have.
func (d *datapath) passed(t *testing.T, id, n int) int {
	t.Helper()
	passed := 0
	for i := range n {
		to := []packet.MAC{packet.Broadcast, {1, 0, 0x5e, 0, 0, 0xfb}}[i%2]
		if action, _ := d.fromEndpoint(id, d.everybody(id, to)).run(t); action == actions[bpf.Pass] {
			passed++
		}
	}
	return passed
}

// TestLimitOfFlood: of many broadcasts and multicasts at once a second's worth passes; what is no flood goes on, and so do others'.
func TestLimitOfFlood(t *testing.T) {
	const limit = 20
	d := load(t, options{Limits: limits{broadcasts: limit}})
	asker := d.endpoints[1]
	for range 2 * limit {
		request := packet.ARPRequest(asker.mac, asker.addr, gatewayAddr).Bytes()
		if action, _ := d.fromEndpoint(1, request).run(t); action != actions[bpf.Answer] {
			t.Fatal("an ARP request is not answered")
		}
	}
	if passed := d.passed(t, 1, 10*limit); passed < limit || passed > 2*limit { // some time may have passed
		t.Errorf("%d broadcasts passed, want the second's %d", passed, limit)
	}
	d.expect(t, d.fromEndpoint(1, d.everybody(1, packet.Broadcast)), expectation{reason: bpf.DatapathReasonDROP_LIMIT_FLOOD})
	d.expect(t, d.fromEndpoint(1, d.neighbourly(layers.IPProtocolUDP, nil).Bytes()),
		expectation{reason: bpf.DatapathReasonFORWARD_ENDPOINT, to: 2})
	d.expect(t, d.fromEndpoint(2, d.everybody(2, packet.Broadcast)), expectation{reason: bpf.DatapathReasonPASS_BROADCAST})
}

// TestFloodWithoutLimit: 0 is none.
func TestFloodWithoutLimit(t *testing.T) {
	d := load(t, options{})
	if passed := d.passed(t, 1, 5000); passed != 5000 {
		t.Errorf("%d of 5000 broadcasts passed", passed)
	}
}
