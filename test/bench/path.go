// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
)

// enough is the share of packets that has to take the path measured; the rest is ARP and the like.
const enough = 0.999

// path proves which way the packets of one measurement took: a rate of another path than the one in the table is worse than
// none.
type path struct {
	variant, flyover, to string
	before               map[string]uint64
}

// watchPath notes how things are before the measurement.
func watchPath(variant, flyover, to string) (*path, error) {
	p := &path{variant: variant, flyover: flyover, to: to}
	var err error
	switch {
	case p.counted():
		p.before, err = reasons(flyover)
	case variant == "kernel":
		_, err = conntrack("-F")
	}
	return p, err
}

// counted tells whether flyover's programs count the packets.
func (p *path) counted() bool { return strings.HasPrefix(p.variant, "ebpf") }

// prove says what became of the packets, as an error if it is not what the variant stands for.
func (p *path) prove() (string, error) {
	switch {
	case p.counted():
		return p.proveCounted()
	case p.variant == "kernel":
		return p.proveTracked()
	}
	return "no other way", nil
}

func (p *path) proveCounted() (string, error) {
	want := "FORWARD_ENDPOINT"
	if p.to == toOutside {
		want = "FORWARD_OUTSIDE"
	}
	after, err := reasons(p.flyover)
	if err != nil {
		return "", err
	}
	var all, good uint64
	for reason, n := range after {
		n -= p.before[reason]
		all += n
		if reason == want {
			good = n
		}
	}
	share := float64(good) / float64(max(all, 1))
	proof := fmt.Sprintf("%.3f %% of %d packets from the endpoints %s", 100*share, all, want)
	if share < enough {
		return proof, fmt.Errorf("wrong path: %s", proof)
	}
	return proof, nil
}

// proveTracked looks for the flow among netfilter's connections. One between two endpoints gets there only from the bridge,
// by way of br_netfilter.
func (p *path) proveTracked() (string, error) {
	if p.to == toEndpoint && !bridgeFiltered() {
		return "not in netfilter's connections: br_netfilter is off", nil
	}
	destination := "192.168.15.2"
	if p.to == toOutside {
		destination = "203.0.113.1"
	}
	flows, err := conntrack("-L", "--src", "192.168.15.1", "--dst", destination)
	if err != nil {
		return "", err
	}
	if !strings.Contains(flows, destination) {
		return "", fmt.Errorf("wrong path: netfilter knows no connection to %s", destination)
	}
	return "in netfilter's connections", nil
}

func conntrack(args ...string) (string, error) {
	out, err := exec.Command("conntrack", args...).Output()
	if err != nil {
		return "", fmt.Errorf("conntrack %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}

// reasons are the packets that from_endpoint has counted, by reason.
func reasons(flyover string) (map[string]uint64, error) {
	out, err := exec.Command(flyover, "status", "-o", "json").Output()
	if err != nil {
		return nil, fmt.Errorf("flyover status: %w", err)
	}
	var status struct {
		Reasons []struct {
			Program, Reason string
			Packets         uint64
		}
	}
	if err := json.Unmarshal(out, &status); err != nil {
		return nil, fmt.Errorf("read flyover status: %w", err)
	}
	counts := map[string]uint64{}
	for _, r := range status.Reasons {
		if r.Program == "from_endpoint" {
			counts[r.Reason] = r.Packets
		}
	}
	return counts, nil
}
