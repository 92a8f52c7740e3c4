// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// compareValues lets cmp look at netip's types by their meaning.
var compareValues = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func TestDefaultIsTheTutorialsNetwork(t *testing.T) {
	got, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{Networks: []Network{{
		Name:       "br1",
		Subnets:    []netip.Prefix{netip.MustParsePrefix("192.168.15.0/24")},
		Gateways:   []netip.Addr{netip.MustParseAddr("192.168.15.10")},
		MTU:        1500,
		Masquerade: true,
		Isolation:  true,
		Datapath:   EBPF,
		Endpoints: []Endpoint{{
			Namespace: "ns1", Interface: "veth-ns1", HostInterface: "veth-ns1-br",
			Addresses: []netip.Addr{netip.MustParseAddr("192.168.15.1")},
			MAC:       net.HardwareAddr{0x02, 0x0d, 0x04, 0x88, 0x74, 0xa5},
		}, {
			Namespace: "ns2", Interface: "veth-ns2", HostInterface: "veth-ns2-br",
			Addresses: []netip.Addr{netip.MustParseAddr("192.168.15.2")},
			MAC:       net.HardwareAddr{0x02, 0x24, 0xe9, 0x2b, 0xa3, 0xab},
		}},
	}}}
	want.Sessions, want.Networks[0].Translation, want.Networks[0].Broadcasts = 131072, usualTranslation, 1000
	if diff := cmp.Diff(want, got, compareValues); diff != "" {
		t.Errorf("Default (-want +got):\n%s", diff)
	}
}

// usualTranslation is that of a network that says nothing about it.
var usualTranslation = Translation{
	Mapping: EndpointIndependent, Filtering: AddressDependent,
	Limits: Limits{Sessions: 32768, Mappings: 8192, Rate: 20000, Burst: 40000},
}

func TestParseTranslation(t *testing.T) {
	const network = "networks: [{name: a, subnets: [10.0.0.0/24], gateway: 10.0.0.1, "
	rows := []struct {
		yaml     string
		sessions int
		want     Translation
	}{
		{network + "mapping: endpoint-independent, filtering: address-dependent}]", 131072, usualTranslation},
		{network + "filtering: endpoint-independent, ports: 1024-65535}]", 131072, Translation{
			Mapping: EndpointIndependent, Filtering: OpenFiltering, Ports: PortRange{1024, 65535}, Limits: usualTranslation.Limits}},
		{"sessions: 4096\n" + network + "mapping: endpoint-dependent, ports: '20000-20000'}]", 4096, Translation{
			Mapping: EndpointDependent, Ports: PortRange{20000, 20000},
			Limits: Limits{Sessions: 1024, Mappings: 8192, Rate: 20000, Burst: 40000}}},
		{network + "limits: {sessions: 1, mappings: 0, rate: 5}}]", 131072, Translation{
			Mapping: EndpointIndependent, Filtering: AddressDependent, Limits: Limits{Sessions: 1, Rate: 5, Burst: 10}}},
		{network + "limits: {rate: 0}}]", 131072, Translation{
			Mapping: EndpointIndependent, Filtering: AddressDependent, Limits: Limits{Sessions: 32768, Mappings: 8192}}},
	}
	for _, row := range rows {
		cfg, err := Parse("net.yaml", []byte(row.yaml))
		if err != nil {
			t.Errorf("%s: %v", row.yaml, err)
			continue
		}
		if diff := cmp.Diff(row.want, cfg.Networks[0].Translation); diff != "" || cfg.Sessions != row.sessions {
			t.Errorf("%s: %d sessions, translation (-want +got):\n%s", row.yaml, cfg.Sessions, diff)
		}
	}
}

func TestParseBroadcasts(t *testing.T) {
	const network = "networks: [{name: a, subnets: [10.0.0.0/24], gateway: 10.0.0.1"
	for keys, want := range map[string]int{
		"": 1000, ", limits: {rate: 5}": 1000, ", limits: {broadcasts: 0}": 0, ", limits: {broadcasts: 7}": 7,
		", masquerade: false": 1000, ", masquerade: false, limits: {broadcasts: 7}": 7, ", datapath: kernel": 0,
	} {
		cfg, err := Parse("net.yaml", []byte(network+keys+"}]"))
		if err != nil {
			t.Errorf("%q: %v", keys, err)
			continue
		}
		if got := cfg.Networks[0].Broadcasts; got != want {
			t.Errorf("%q: %d broadcasts a second, want %d", keys, got, want)
		}
	}
}

func TestParseSourceGuard(t *testing.T) {
	for keys, want := range map[string][2]bool{
		"": {}, ", source-guard: true": {}, ", source-guard: false": {true, true},
	} {
		cfg, err := Parse("net.yaml", []byte("networks: [{name: a, subnets: [10.0.0.0/24], gateway: 10.0.0.1, endpoints: ["+
			"{namespace: x, addresses: [10.0.0.2]}, {namespace: y, addresses: [10.0.0.3]"+keys+"}]}]"))
		if err != nil {
			t.Errorf("%q: %v", keys, err)
			continue
		}
		n := cfg.Networks[0]
		if got := [2]bool{n.Unguarded(), n.Endpoints[1].Unguarded}; got != want || n.Endpoints[0].Unguarded {
			t.Errorf("%q: network and second endpoint unguarded %v, want %v; first %v", keys, got, want, n.Endpoints[0].Unguarded)
		}
	}
}

func TestParseKeepsWhatTheFileSays(t *testing.T) {
	got, err := Parse("net.yaml", []byte("\ufeff---\r\n"+`"uplinks": [eth0, wlan0.7]
networks:
  - {name: 'a', subnets: [10.0.0.0/30], gateway: 10.0.0.1, endpoints: }
  - name: b
    subnets:
      - 10.0.0.4/30
    gateway: 10.0.0.5
    mtu: 9000
    masquerade: false
    datapath: kernel
    endpoints:
      - namespace: db 1
        interface: eth0
        host_interface: db
        addresses: [10.0.0.6]
        mac: 00-50-56-00-00-01
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{Uplinks: []string{"eth0", "wlan0.7"}, Networks: []Network{{
		Name: "a", Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/30")}, Gateways: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
		MTU: 1500, Masquerade: true, Isolation: true, Datapath: EBPF,
	}, {
		Name: "b", Subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.4/30")}, Gateways: []netip.Addr{netip.MustParseAddr("10.0.0.5")},
		MTU: 9000, Masquerade: false, Isolation: true, Datapath: Kernel,
		Endpoints: []Endpoint{{
			Namespace: "db 1", Interface: "eth0", HostInterface: "db",
			Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.6")}, MAC: net.HardwareAddr{0, 0x50, 0x56, 0, 0, 1},
		}},
	}}}
	want.Sessions, want.Networks[0].Translation, want.Networks[0].Broadcasts = 131072, usualTranslation, 1000
	if diff := cmp.Diff(want, got, compareValues); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
}

// TestParseFamilies has the families in either order: IPv4 comes first, and makes the default MAC, so that IPv6 can be added to a
// network without changing what is there.
func TestParseFamilies(t *testing.T) {
	const (
		ipv4, ipv6 = "192.168.15.0/24", "fd00:15::/64"
		// The first octets of what sha256sum says of "br1/192.168.15.1" and "br1/fd00:15::1".
		mac4, mac6 = "02:0d:04:88:74:a5", "02:40:7b:ca:29:70"
	)
	for _, row := range []struct{ subnets, gateway, addresses, mac string }{
		{"192.168.15.0/24", "192.168.15.10", "192.168.15.1", mac4},
		{"192.168.15.0/24", "[192.168.15.10]", "192.168.15.1", mac4},
		{"fd00:15::/64", "fd00:15::10", "fd00:15::1", mac6},
		{"192.168.15.0/24, fd00:15::/64", "[192.168.15.10, fd00:15::10]", "192.168.15.1, fd00:15::1", mac4},
		{"fd00:15::/64, 192.168.15.0/24", "[192.168.15.10, fd00:15::10]", "fd00:15::1, 192.168.15.1", mac4},
	} {
		cfg, err := Parse("net.yaml", fmt.Appendf(nil, "networks: [{name: br1, datapath: kernel, subnets: [%s], gateway: %s, "+
			"endpoints: [{namespace: ns1, addresses: [%s]}]}]", row.subnets, row.gateway, row.addresses))
		if err != nil {
			t.Errorf("%v: %v", row, err)
			continue
		}
		n := cfg.Networks[0]
		want := map[string][]string{
			ipv4: {ipv4, "192.168.15.10/24", "192.168.15.1/24"}, ipv6: {ipv6, "fd00:15::10/64", "fd00:15::1/64"},
		}
		both := []string{ipv4, ipv6}
		both = slices.DeleteFunc(both, func(s string) bool { return !strings.Contains(row.subnets, s) })
		if len(n.Subnets) != len(both) || len(n.Gateways) != len(both) || len(n.Endpoints[0].Addresses) != len(both) {
			t.Errorf("%v: %v, %v, %v", row, n.Subnets, n.Gateways, n.Endpoints[0].Addresses)
			continue
		}
		for i, subnet := range both {
			got := []string{n.Subnets[i].String(), n.InSubnet(n.Gateways[i]).String(), n.InSubnet(n.Endpoints[0].Addresses[i]).String()}
			if diff := cmp.Diff(want[subnet], got); diff != "" {
				t.Errorf("%v: subnet, gateway, endpoint (-want +got):\n%s", row, diff)
			}
		}
		if got := n.Endpoints[0].MAC.String(); got != row.mac || n.IPv6() != strings.Contains(row.subnets, ipv6) {
			t.Errorf("%v: MAC address %s, IPv6 %v", row, got, n.IPv6())
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	write(t, good, DefaultYAML())
	write(t, bad, []byte("networks: []\n"))

	want, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Load(good)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, compareValues); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}

	_, err = Load(bad)
	wantProblems := Problems{{File: bad, Line: 1, Column: 11, Message: "networks is empty; list at least one network"}}
	var problems Problems
	if !errors.As(err, &problems) || cmp.Diff(wantProblems, problems) != "" {
		t.Errorf("Load = %v, want %v", err, wantProblems)
	}

	if _, err := Load(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) || errors.As(err, &problems) {
		t.Errorf("Load of an absent file = %v, want only fs.ErrNotExist", err)
	}
	if _, err := Load("/dev/zero"); err == nil || err.Error() != "/dev/zero:1:1: the file is larger than 8388608 bytes" {
		t.Errorf("Load of an endless file = %v", err)
	}
}

func TestDefaultYAMLIsACopy(t *testing.T) {
	clear(DefaultYAML())
	if _, err := Default(); err != nil {
		t.Errorf("Default after a caller changed its copy: %v", err)
	}
}

// TestDocument keeps the examples of the document true.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) < 2 {
		t.Errorf("the document has %d examples, want the short form and the full one", len(blocks))
	}
	for _, block := range blocks {
		if _, err := Parse("configuration.md", block[1]); err != nil {
			t.Errorf("%v\nof:\n%s", err, block[1])
		}
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
