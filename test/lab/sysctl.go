// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"path/filepath"
)

// zeroed are the settings whose kernel default is 0 and which change how a lab behaves. A new network namespace copies IPv4 settings
// from the machine's first one, and IPv6's if the machine is set so. Without this a lab would depend on the machine it runs on.
var zeroed = map[string][]string{
	"ipv4": {"forwarding", "rp_filter", "arp_filter", "arp_ignore", "arp_announce", "proxy_arp", "accept_local", "route_localnet"},
	"ipv6": {"forwarding", "disable_ipv6"},
}

// resetSysctls gives the calling thread's network namespace the kernel's defaults.
func resetSysctls() error {
	for family, names := range zeroed {
		if family == "ipv6" && !hasIPv6() {
			continue
		}
		for _, scope := range []string{"all", "default", "lo"} {
			for _, name := range names {
				path := filepath.Join("/proc/sys/net", family, "conf", scope, name)
				if err := os.WriteFile(path, []byte("0"), 0o644); err != nil {
					return fmt.Errorf("reset sysctl: %w", err)
				}
			}
		}
	}
	return nil
}

// hasIPv6 says that the kernel was not booted without it.
func hasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}
