// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"fmt"

	"github.com/cilium/ebpf"

	"flyover/bpf"
)

// Tally counts packets as the stack hands them over (a GSO packet is one) and their bytes, Ethernet header included.
type Tally struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

func (t *Tally) add(packets, bytes uint64) {
	t.Packets += packets
	t.Bytes += bytes
}

// Reasons returns what each program did and why, summed over the CPUs; reasons never met are left out.
func (p Pins) Reasons() (map[Point]map[bpf.DatapathReason]Tally, error) {
	m, err := ebpf.LoadPinnedMap(p.Map(bpf.DatapathMapFoReasons), nil)
	if err != nil {
		return nil, fmt.Errorf("open map %s: %w", bpf.DatapathMapFoReasons, err)
	}
	defer m.Close()
	sums := map[Point]map[bpf.DatapathReason]Tally{}
	for _, at := range Points() {
		sums[at] = map[bpf.DatapathReason]Tally{}
	}
	for _, reason := range bpf.Reasons() {
		var cpus []bpf.DatapathReasonEntry
		if err := m.Lookup(uint32(reason), &cpus); err != nil {
			return nil, fmt.Errorf("read counters of %s: %w", reason, err)
		}
		for at, tally := range sumReason(cpus) {
			if tally.Packets > 0 {
				sums[at][reason] = tally
			}
		}
	}
	return sums, nil
}

func sumReason(cpus []bpf.DatapathReasonEntry) map[Point]Tally {
	var fromEndpoint, fromUplink, toUplink Tally
	for _, c := range cpus {
		fromEndpoint.add(c.FromEndpoint.Packets, c.FromEndpoint.Bytes)
		fromUplink.add(c.FromUplink.Packets, c.FromUplink.Bytes)
		toUplink.add(c.ToUplink.Packets, c.ToUplink.Bytes)
	}
	return map[Point]Tally{FromEndpoint: fromEndpoint, FromUplink: fromUplink, ToUplink: toUplink}
}

// Traffic is what an endpoint sent and got, seen from the endpoint. What reaches it by way of the stack is not in Received.
type Traffic struct {
	Sent     Tally `json:"sent"`
	Received Tally `json:"received"`
	Dropped  Tally `json:"dropped"`
}

// Traffic returns the counters of the endpoint with this number, summed over the CPUs.
func (p Pins) Traffic(endpoint uint32) (Traffic, error) {
	var t Traffic
	var cpus []bpf.DatapathTrafficEntry
	m, err := ebpf.LoadPinnedMap(p.Map(bpf.DatapathMapFoTraffic), nil)
	if err != nil {
		return t, fmt.Errorf("open map %s: %w", bpf.DatapathMapFoTraffic, err)
	}
	defer m.Close()
	if err := m.Lookup(endpoint, &cpus); err != nil {
		return t, fmt.Errorf("read counters of endpoint %d: %w", endpoint, err)
	}
	for _, c := range cpus {
		t.Sent.add(c.Sent.Packets, c.Sent.Bytes)
		t.Received.add(c.Received.Packets, c.Received.Bytes)
		t.Dropped.add(c.Dropped.Packets, c.Dropped.Bytes)
	}
	return t, nil
}

// ResetTraffic sets the counters of an endpoint to zero.
func (p Pins) ResetTraffic(endpoint uint32) error {
	m, err := ebpf.LoadPinnedMap(p.Map(bpf.DatapathMapFoTraffic), nil)
	if err != nil {
		return fmt.Errorf("open map %s: %w", bpf.DatapathMapFoTraffic, err)
	}
	defer m.Close()
	zero := make([]bpf.DatapathTrafficEntry, ebpf.MustPossibleCPU())
	if err := m.Put(endpoint, zero); err != nil {
		return fmt.Errorf("reset counters of endpoint %d: %w", endpoint, err)
	}
	return nil
}
