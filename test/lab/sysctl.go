// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"path/filepath"
)

// zeroed are the IPv4 settings whose kernel default is 0 and which change how a lab behaves. A new network namespace copies
// IPv4 settings from the machine's first one, so without this a lab would depend on the machine it runs on.
var zeroed = []string{
	"forwarding", "rp_filter", "arp_filter", "arp_ignore", "arp_announce", "proxy_arp", "accept_local", "route_localnet",
}

// resetSysctls gives the calling thread's network namespace the kernel's defaults.
func resetSysctls() error {
	for _, scope := range []string{"all", "default", "lo"} {
		for _, name := range zeroed {
			path := filepath.Join("/proc/sys/net/ipv4/conf", scope, name)
			if err := os.WriteFile(path, []byte("0"), 0o644); err != nil {
				return fmt.Errorf("reset sysctl: %w", err)
			}
		}
	}
	return nil
}
