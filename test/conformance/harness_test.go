// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"flyover/control"
	"flyover/test/lab"
	"flyover/test/lab/labtest"
	"flyover/test/wire"
)

// patience bounds everything that is waited for. It is far more than anything takes, and no measure of speed.
const patience = 5 * time.Second

// network is the default network; its last line is for more keys.
const network = `networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    datapath: {datapath}
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1]}
      - {namespace: ns2, addresses: [192.168.15.2]}
`

// network6 is the same network with IPv6 beside IPv4, by which the fences of all rows go.
const network6 = `networks:
  - name: br1
    subnets: [192.168.15.0/24, fd00:15::/64]
    gateway: [192.168.15.10, fd00:15::10]
    datapath: {datapath}
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1, fd00:15::1]}
      - {namespace: ns2, addresses: [192.168.15.2, fd00:15::2]}
`

// host is the lab with one datapath under test.
type host struct {
	t         *testing.T
	ebpf      bool
	addr      addresses
	six       bool     // there is IPv6, too
	lenient   bool     // the row itself sends wrong checksums to the outside
	exempt    []string // addresses of the outside to which inside addresses may be shown
	name      string   // of the part at hand
	failures  []string // reasons, in order
	pings     uint16   // of fences
	atOutside *capture // from the start on
}

// upDefault brings the default network up.
func (h *host) upDefault() {
	h.t.Helper()
	h.up("")
}

// up brings the default network up with more keys, one a line, as in "mtu: 1400". A datapath that refuses them fails the row.
func (h *host) up(keys string) {
	h.t.Helper()
	text := h.network()
	for line := range strings.Lines(strings.TrimSpace(keys)) {
		text += "    " + strings.TrimRight(line, "\n") + "\n"
	}
	h.upFile(text)
}

// network is the configuration, without more keys.
func (h *host) network() string {
	if h.six {
		return network6
	}
	return network
}

// upBoth is up with IPv6 beside IPv4.
func (h *host) upBoth(keys string) {
	h.t.Helper()
	h.six = true
	h.up(keys)
}

// upFile is up with a whole file, in which {datapath} stands for the datapath under test.
func (h *host) upFile(text string) {
	h.t.Helper()
	if out, err := h.tryUp(text); err != nil {
		h.t.Log(out)
		h.Failf("flyover up refuses the configuration")
	}
	h.checkDatapath()
	if !h.six {
		for _, ns := range []string{"ns1", "ns2", outside} {
			h.run(ns, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
		}
	}
	h.run(outside, "ip", "addr", "replace", addrSecond+"/24", "dev", lab.OutsideInterface)
	if h.six {
		h.run(outside, "ip", "addr", "replace", addr6Second+"/64", "dev", lab.OutsideInterface, "nodad")
	}
	h.offloads("off")
	if h.atOutside == nil {
		h.atOutside = h.capture(outside, lab.OutsideInterface)
	}
	h.fence("ns1")
	h.fence("ns2")
}

// tryUp runs `flyover up` and returns what it printed.
func (h *host) tryUp(text string) (string, error) {
	h.t.Helper()
	datapath := "kernel"
	if h.ebpf {
		datapath = "ebpf"
	}
	file := filepath.Join(h.t.TempDir(), "net.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "{datapath}", datapath)), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return h.try("", "flyover", "up", "-f", file)
}

// checkDatapath makes sure of what is tested: a test of the wrong datapath proves nothing.
func (h *host) checkDatapath() {
	h.t.Helper()
	if got := h.status().Networks[0].Datapath; (string(got) == "ebpf") != h.ebpf {
		h.t.Fatalf("datapath is %s", got)
	}
}

func (h *host) status() *control.Status {
	h.t.Helper()
	s := new(control.Status)
	if err := json.Unmarshal([]byte(h.run("", "flyover", "status", "-o", "json")), s); err != nil {
		h.t.Fatal(err)
	}
	return s
}

// reasons are flyover's counters of packets by reason, all programs added up.
func (h *host) reasons() map[string]uint64 {
	h.t.Helper()
	packets := map[string]uint64{}
	for _, r := range h.status().Reasons {
		packets[r.Reason] += r.Packets
	}
	return packets
}

// links are all interfaces that packets to the outside pass.
var links = [][2]string{
	{"ns1", "veth-ns1"}, {"ns2", "veth-ns2"}, {"", "veth-ns1-br"}, {"", "veth-ns2-br"},
	{"", lab.Uplink}, {outside, lab.OutsideInterface},
}

// offloads turns the offloads of all links on or off. They are off at first, so that what is captured is what a wire would carry.
func (h *host) offloads(state string) {
	h.t.Helper()
	for _, link := range links {
		h.run(link[0], "ethtool", "-K", link[1], "tx", state, "rx", state, "tso", state, "gso", state, "gro", state)
	}
}

// try runs a command in a namespace, "" being the lab's host, and returns all it printed.
func (h *host) try(namespace string, argv ...string) (string, error) {
	return labtest.Command(4*patience, namespace, argv...)
}

// run is try for commands that have to succeed whatever the datapath does.
func (h *host) run(namespace string, argv ...string) string {
	h.t.Helper()
	out, err := h.try(namespace, argv...)
	if err != nil {
		h.t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// within calls f with the thread in a namespace: what f opens stays there, and works from anywhere.
func within[T any](h *host, namespace string, f func() (T, error)) T {
	h.t.Helper()
	made, err := wire.In(namespace, f)
	if err != nil {
		h.t.Fatal(err)
	}
	return made
}

// until polls a condition that the datapath has to bring about: the row fails, for want of what, if it does not.
func (h *host) until(what string, done func() bool) {
	h.t.Helper()
	if !comes(done) {
		h.Failf("no %s", what)
	}
}

// comes polls a condition, and says whether it has come about.
func comes(done func() bool) bool {
	for deadline := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// always is what holds in each row: the outside sees no inside address, and no wrong checksum.
func (h *host) always() {
	h.t.Helper()
	if h.atOutside == nil {
		h.t.Fatal(errors.New("the row has not brought a network up"))
	}
	h.atOutside.none("packet with an inside address at the outside", func(f frame) bool {
		_, dst := f.Addrs()
		return !f.Sent && fromInside(f) && !slices.Contains(h.exempt, dst.String())
	})
	if !h.lenient {
		h.atOutside.none("wrong checksum at the outside", func(f frame) bool { return !f.Sent && f.WrongChecksum() != "" })
	}
}
