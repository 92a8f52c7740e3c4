// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"flyover/control"
	"flyover/loader"
	"flyover/test/lab/labtest"
)

// natConfig has a network of each kind of mapping.
const natConfig = `
sessions: 4096
networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
    ports: 1024-15999
    limits: {sessions: 100, mappings: 50, rate: 1000, burst: 2000}
    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1]}
      - {namespace: ns2, addresses: [192.168.15.2]}
  - name: br2
    subnets: [192.168.16.0/24]
    gateway: 192.168.16.10
    mapping: endpoint-dependent
    ports: 16000-32767
    limits: {sessions: 0, mappings: 0, rate: 0, burst: 0}
    endpoints:
      - {namespace: ns3, addresses: [192.168.16.1]}
`

var inNS3 = place{"ns3", netip.MustParseAddr("192.168.16.1")}

// inIPv6 makes of natConfig, and of what is asked about it, the same of IPv6.
var inIPv6 = strings.NewReplacer("192.168.15.0/24", "fd00:15::/64", "192.168.16.0/24", "fd00:16::/64", "192.168.15.", "fd00:15::",
	"192.168.16.", "fd00:16::", "203.0.113.1:5001", "[2001:db8:ffff::1]:5001", "203.0.113.0/24", "2001:db8:ffff::/64",
	"198.51.100.1", "2001:db8:77::1", "icmp/", "icmpv6/")

// Every command's whole output, as text and JSON, on flows of known ports. The second endpoint's UDP port is taken by the first.
func TestNAT(t *testing.T) {
	for name, c := range map[string]struct {
		family
		ns3   place
		write func(string) string
	}{
		"nat":  {overIPv4, inNS3, func(s string) string { return s }},
		"nat6": {overSix, place{"ns3", netip.MustParseAddr("fd00:16::1")}, inIPv6.Replace},
	} {
		t.Run(name, func(t *testing.T) {
			labtest.Alone(t, func(t *testing.T) {
				flyover(t, "up", "-f", configFile(t, c.write(natConfig)))
				hold := openFlows(t, c.family, c.ns3)
				golden(t, name, natCommands(t, c.write))
				hold()
			})
		})
	}
}

// natCommands is what all commands say.
func natCommands(t *testing.T, write func(string) string) string {
	t.Helper()
	var said strings.Builder
	ask := func(command string) {
		command = write(command)
		fmt.Fprintf(&said, "> nat %s\n%s\n", command, natOutput(flyover(t, append([]string{"nat"}, strings.Fields(command)...)...)))
	}
	for _, command := range []string{
		"sessions", "sessions --endpoint ns2", "sessions --endpoint veth-ns3-br", "sessions --remote 203.0.113.1:5001",
		"sessions --remote 203.0.113.0/24 --endpoint 192.168.16.1", "sessions --remote 198.51.100.1",
		"mappings", "mappings --endpoint ns2", "mappings --endpoint ns3", "who 4000", "who tcp/4001", "who icmp/1077", "who tcp/20000",
		"stats",
	} {
		ask(command)
		ask(command + " -o json")
	}
	for _, endpoint := range []string{"--endpoint ns2", "--endpoint 192.168.16.1", ""} {
		for _, command := range []string{"flush " + endpoint, "sessions", "mappings", "stats"} {
			ask(strings.TrimSpace(command))
		}
	}
	return said.String()
}

// openFlows makes them, and returns what has to be called when they are not needed any more.
func openFlows(t *testing.T, f family, ns3 place) (hold func()) {
	t.Helper()
	servers := []*net.UDPConn{udpAt(t, f.atOutside, 5001), udpAt(t, f.atOutside, 5002)}
	first, second := udpAt(t, f.ns1, 4000), udpAt(t, f.ns2, 4000)
	sendTo(t, first, servers[0])
	sendTo(t, first, servers[1])
	sendTo(t, second, servers[0])
	listener := within(t, outside, func() (*net.TCPListener, error) {
		return net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(f.atOutside.addr, 8080)))
	})
	connections := []*net.TCPConn{
		connectFrom(t, f.ns1, 4001, listener), connectFrom(t, f.ns2, 4002, listener), connectFrom(t, ns3, 20000, listener),
	}
	run(t, "ns1", "ping", "-q", "-c1", "-W5", "-e", "1077", f.atOutside.addr.String())
	return func() {
		for _, c := range connections {
			c.Close()
		}
		listener.Close()
	}
}

// sendTo sends a datagram and waits for it to arrive.
func sendTo(t *testing.T, from, to *net.UDPConn) {
	t.Helper()
	ap, _ := netip.ParseAddrPort(to.LocalAddr().String())
	if _, err := from.WriteToUDPAddrPort([]byte("x"), ap); err != nil {
		t.Fatal(err)
	}
	if err := to.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := to.ReadFromUDPAddrPort(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

// connectFrom makes a connection that is silent from then on.
func connectFrom(t *testing.T, from place, port uint16, to *net.TCPListener) *net.TCPConn {
	t.Helper()
	conn := within(t, from.ns, func() (*net.TCPConn, error) {
		d := net.Dialer{Timeout: patience, KeepAlive: -1, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from.addr, port))}
		c, err := d.Dial("tcp", to.Addr().String())
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	})
	accepted, err := to.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	if err := accepted.SetKeepAlive(false); err != nil {
		t.Fatal(err)
	}
	return conn
}

var (
	natTimesText = regexp.MustCompile(`  (\d+)s +(\d+)s  `)
	natTimesJSON = regexp.MustCompile(`"idle_seconds": (\d+),\n(\s*)"left_seconds": (\d+)`)
	natColumns   = regexp.MustCompile(`  +`)
	// natPortText and natPortJSON find the outside port that is drawn.
	natPortText = regexp.MustCompile(`((?:192\.168\.15\.2|\[fd00:15::2]):4000 +(?:203\.0\.113\.2|\[2001:db8:ffff::2]):)\d+`)
	natPortJSON = regexp.MustCompile(`("inside_address": "(?:192\.168\.15\.2|fd00:15::2)",\n\s*"inside_port": 4000,\n` +
		`(?:.*\n){2}\s*"outside_port": )\d+`)
)

// natOutput replaces what varies: the order of lines, the port that is drawn, the width of columns, and how long ago a packet came,
// which is added to how long the session has left.
func natOutput(text string) string {
	sum := func(idle, left string) int {
		i, _ := strconv.Atoi(idle)
		l, _ := strconv.Atoi(left)
		return i + l
	}
	text = natTimesText.ReplaceAllStringFunc(text, func(s string) string {
		m := natTimesText.FindStringSubmatch(s)
		return fmt.Sprintf("  %ds in all  ", sum(m[1], m[2]))
	})
	text = natTimesJSON.ReplaceAllStringFunc(text, func(s string) string {
		m := natTimesJSON.FindStringSubmatch(s)
		return fmt.Sprintf("\"idle_seconds\": IDLE,\n%s\"left_seconds\": %d - IDLE", m[2], sum(m[1], m[3]))
	})
	text = natPortText.ReplaceAllString(text, "${1}DRAWN")
	text = natPortJSON.ReplaceAllString(text, "${1}DRAWN")
	if array, found := strings.CutPrefix(text, "[\n"); found {
		elements := strings.Split(strings.TrimSuffix(array, "\n]\n"), ",\n  {")
		for i, e := range elements {
			elements[i] = strings.TrimPrefix(e, "  {")
		}
		slices.Sort(elements)
		return "[\n  {" + strings.Join(elements, ",\n  {") + "\n]\n"
	}
	if strings.HasPrefix(text, "PROTOCOL") {
		lines := strings.SplitAfter(natColumns.ReplaceAllString(text, "  "), "\n")
		slices.Sort(lines[1:])
		return strings.Join(lines, "")
	}
	return text
}

// Flushes while a sender makes one session after the other: later flows work, and nothing stays that no session holds.
func TestNATFlushUnderTraffic(t *testing.T) {
	labtest.Alone(t, func(t *testing.T) {
		flyover(t, "up")
		echo := netip.AddrPortFrom(addrOutside, udpEcho(t, atOutside, func(netip.AddrPort) {}))
		conn := udpAt(t, inNS1, 4000)
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() { // never silent, and to another port of the remote each time
			defer close(done)
			for port := uint16(1); ; port = port%1000 + 1 {
				select {
				case <-stop:
					return
				default:
					_, _ = conn.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(addrOutside, port))
				}
			}
		}()
		for range 20 {
			flyover(t, "nat", "flush")
		}
		close(stop)
		<-done
		conn.Close()
		for range 3 {
			if err := udpAsk(t, inNS1, echo, []byte("after")); err != nil {
				t.Error(err)
			}
		}
		flyover(t, "nat", "flush")
		for _, command := range []string{"sessions", "mappings"} {
			if got := flyover(t, "nat", command); got != "no "+command+"\n" {
				t.Errorf("after a flush without traffic:\n%s", got)
			}
		}
		var stats control.TranslationStats
		if err := json.Unmarshal([]byte(flyover(t, "nat", "stats", "-o", "json")), &stats); err != nil {
			t.Fatal(err)
		}
		for _, e := range stats.Endpoints {
			if e.Usage != (loader.Usage{}) {
				t.Errorf("%s still uses %+v", e.Namespace, e.Usage)
			}
		}
	})
}
