// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// serveCommand is how a lab starts this program: serve VARIANT FLYOVER.
const serveCommand = "serve"

// Where a flow goes; it always comes from the first endpoint.
const (
	toEndpoint = "endpoint"
	toOutside  = "outside"
)

// The ends of the flows. The direct pair is given the names and addresses of the default network's endpoints.
var (
	first   = place{namespace: "ns1", address: [4]byte{192, 168, 15, 1}}
	second  = place{namespace: "ns2", address: [4]byte{192, 168, 15, 2}}
	outside = place{namespace: "outside", address: [4]byte{203, 0, 113, 1}}
)

// serve runs in a lab: it furnishes the lab for the variant and then answers questions until its input ends.
func serve(variant, flyover string, in io.Reader, out io.Writer) error {
	// The measuring threads keep their P while they wait in the kernel, so there have to be more of them, and nothing may
	// want to stop the world.
	runtime.GOMAXPROCS(8)
	debug.SetGCPercent(-1)

	claimPriority()
	note, err := furnish(variant)
	if err != nil {
		return err
	}
	if variant == "redirect" {
		link, err := attachRedirect()
		if err != nil {
			return err
		}
		defer link.Close()
	}
	answers, questions := json.NewEncoder(out), json.NewDecoder(in)
	if err := answers.Encode(answer{Note: note}); err != nil {
		return err
	}
	for {
		var q question
		if err := questions.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		a, err := respond(variant, flyover, q)
		if err != nil {
			a.Error = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
		runtime.GC() // between the windows, where it does no harm
	}
}

// claimPriority makes the threads' priority count against the rest of the machine too. Where the kernel groups processes by
// session, it otherwise counts against those of the own session only, so this process takes one of its own. Without it the
// figures are worse and not wrong, so a failure is of no interest.
func claimPriority() {
	_, _ = unix.Setsid()
	_ = os.WriteFile("/proc/self/autogroup", []byte("-20"), 0o644)
}

// respond measures once and proves which way the packets took.
func respond(variant, flyover string, q question) (answer, error) {
	from, to := first, second
	if q.To == toOutside {
		to = outside
	}
	cpus, err := allowedCPUs()
	if err != nil {
		return answer{}, err
	}
	from.cpu, to.cpu = cpus[0], cpus[0]
	if q.Protocol == "udp" {
		to.cpu = cpus[len(cpus)-1]
	}
	path, err := watchPath(variant, flyover, q.To)
	if err != nil {
		return answer{}, err
	}
	var a answer
	if q.Protocol == "udp" {
		a, err = measureUDP(from, to, q.Window, q.Batch)
	} else {
		a, err = measureTCP(from, to, q.Window)
	}
	if err != nil {
		return a, err
	}
	a.Path, err = path.prove()
	return a, err
}

// furnish makes what flyover does not, and says what is worth knowing about the lab.
func furnish(variant string) (string, error) {
	switch variant {
	case "kernel":
		return switchOnBridgeFilter()
	case "direct":
		return "one veth pair between two namespaces, no bridge: the limit", connectPair()
	case "redirect":
		return "a program of seven instructions that sends all IPv4 to ns2 by bpf_redirect_peer: the limit of its kind", nil
	case "ebpf again":
		return "another lab like the first: how far noise goes", nil
	}
	return "flyover, datapath ebpf", nil
}

// bridgeFilter exists where br_netfilter is loaded. It is a setting of the network namespace, so the lab's own.
const bridgeFilter = "/proc/sys/net/bridge/bridge-nf-call-iptables"

// switchOnBridgeFilter makes bridged packets go through netfilter, as they do on a host with containers. The module is not
// loaded for it: that would switch the same on for every bridge of the machine.
func switchOnBridgeFilter() (string, error) {
	err := os.WriteFile(bridgeFilter, []byte("1"), 0o644)
	if errors.Is(err, os.ErrNotExist) {
		return "bridge and masquerade, without br_netfilter (the module is not loaded)", nil
	}
	return "bridge and masquerade, br_netfilter on", err
}

// bridgeFiltered tells whether bridged packets go through netfilter here.
func bridgeFiltered() bool {
	on, err := os.ReadFile(bridgeFilter)
	return err == nil && strings.TrimSpace(string(on)) == "1"
}

// connectPair makes two namespaces and one veth pair between them.
func connectPair() error {
	for _, command := range []string{
		"netns add ns1",
		"netns add ns2",
		"link add veth-ns1 netns ns1 type veth peer name veth-ns2 netns ns2",
		"-n ns1 addr add 192.168.15.1/24 dev veth-ns1",
		"-n ns2 addr add 192.168.15.2/24 dev veth-ns2",
		"-n ns1 link set veth-ns1 up",
		"-n ns2 link set veth-ns2 up",
	} {
		if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", command, err, out)
		}
	}
	return nil
}
