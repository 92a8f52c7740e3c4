// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each method of traceroute shows the gateway, then the outside.
func TestTrafficTraceroute(t *testing.T) {
	overFamilies(t, func(t *testing.T, v variant) {
		port := tcpServe(t, v.atOutside, func(*net.TCPConn) {})
		for _, method := range [][]string{{}, {"-I"}, {"-T", "-p", fmt.Sprint(port)}} {
			argv := append([]string{"traceroute", "-n", "-q", "1", "-w", "2", "-m", "4"}, method...)
			for _, ns := range []string{"ns1", "ns2"} {
				out := run(t, ns, append(argv, v.atOutside.addr.String())...)
				if diff := cmp.Diff([]string{v.gateway.addr.String(), v.atOutside.addr.String()}, hops(out)); diff != "" {
					t.Errorf("traceroute %v from %s: hops (-want +got)\n%s\n%s", method, ns, diff, out)
				}
			}
		}
	})
}

var hop = regexp.MustCompile(`(?m)^ *\d+ +(\S+)`)

// hops are the addresses of traceroute's lines, in order; "*" for a hop that is silent.
func hops(out string) []string {
	var found []string
	for _, m := range hop.FindAllStringSubmatch(out, -1) {
		found = append(found, m[1])
	}
	return found
}
