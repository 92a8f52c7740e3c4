// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
)

// dump is everything about the host that flyover could change, by what it is about.
type dump map[string]string

// takeDump looks at the host and at every named namespace.
func takeDump(t *testing.T) dump {
	t.Helper()
	d := dump{}
	names, _ := filepath.Glob("/run/netns/*")
	for _, ns := range append([]string{""}, names...) {
		d.namespace(t, filepath.Base("/"+ns))
	}
	d.tree("bpffs", "/sys/fs/bpf")
	d.tree("netns", "/run/netns")
	d.tree("run", "/run/flyover")
	d["sysctl"] = sysctls()
	d["nft"] = sh(t, "nft list ruleset")
	d["qdisc"] = sh(t, "tc -j qdisc show dev eth0; tc -j filter show dev eth0 ingress; tc -j filter show dev eth0 egress")
	d["tcx"] = attachedIDs(t)
	d["mounts"] = mounts(t)
	return d
}

// sameDump reports what differs from before, and goes on differing: the kernel removes some things a moment later. It returns what
// the next comparison starts from, so that one remainder is reported once.
func sameDump(t *testing.T, when string, before dump) dump {
	t.Helper()
	deadline := time.Now().Add(patience / 20)
	for {
		now := takeDump(t)
		diff := cmp.Diff(before, now)
		if diff != "" && time.Now().Before(deadline) {
			continue
		}
		if diff != "" {
			t.Errorf("host changed: %s:\n%s", when, diff)
		}
		return now
	}
}

func (d dump) namespace(t *testing.T, ns string) {
	t.Helper()
	ip, title := "ip ", "host "
	if ns != "/" {
		ip, title = "ip -n "+ns+" ", ns+" "
	}
	for name, command := range map[string]string{
		"link": "-d -j addr", "route": "-d -j route show table all", "route6": "-6 -d -j route",
		"neighbour": "-d -j neigh show nud permanent", "rule": "-d -j rule", "rule6": "-6 -d -j rule",
	} {
		d[title+name] = canonical(t, sh(t, ip+command))
	}
}

// tree lists what is below dir with mode and owner. A directory with nothing in it is as good as none.
func (d dump) tree(title, dir string) {
	var lines []string
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			lines = append(lines, fmt.Sprintf("%s %s", info.Mode(), path))
		}
		return err
	})
	d[title] = strings.Join(lines, "\n")
}

// canonical sorts the objects and keys of JSON and leaves out what runs by itself.
func canonical(t *testing.T, text string) string {
	t.Helper()
	var objects []map[string]any
	if strings.TrimSpace(text) == "" {
		return ""
	}
	if err := json.Unmarshal([]byte(text), &objects); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	var lines []string
	for _, o := range objects {
		if dst, _ := o["dst"].(string); !strings.HasPrefix(dst, "fe80:") {
			line, _ := json.Marshal(withoutClocks(o))
			lines = append(lines, string(line))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// withoutClocks removes timers, and the addresses that IPv6 gives itself some time after an interface came up.
func withoutClocks(value any) any {
	switch v := value.(type) {
	case map[string]any:
		if v["scope"] == "link" && v["family"] == "inet6" {
			return nil
		}
		for key := range v {
			if strings.HasSuffix(key, "_timer") || strings.HasSuffix(key, "_life_time") {
				delete(v, key)
			} else {
				v[key] = withoutClocks(v[key])
			}
		}
	case []any:
		for i := range v {
			v[i] = withoutClocks(v[i])
		}
	}
	return value
}

func sysctls() string {
	var b strings.Builder
	for _, pattern := range []string{"ipv4/ip_forward", "ipv4/ip_local_*", "ipv4/conf/*/*", "ipv6/conf/*/*", "bridge/*"} {
		names, _ := filepath.Glob("/proc/sys/net/" + pattern)
		for _, name := range names {
			value, err := os.ReadFile(name)
			if err == nil {
				fmt.Fprintf(&b, "%s %s", name, value)
			}
		}
	}
	return b.String()
}

// attachedIDs are the ids of links and programs at the uplink's tcx hooks, which an older tc and bpftool do not show.
func attachedIDs(t *testing.T) string {
	t.Helper()
	eth0, err := net.InterfaceByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
		result, err := link.QueryPrograms(link.QueryOptions{Target: eth0.Index, Attach: at})
		if errors.Is(err, ebpf.ErrNotSupported) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range result.Programs {
			id, _ := p.LinkID()
			fmt.Fprintf(&b, "%s link %d program %d\n", at, id, p.ID)
		}
	}
	return b.String()
}

// mounts are target, type and options of each mount. That /run/netns is a mount point is a test of its own.
func mounts(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		dash := slices.Index(f, "-")
		if f[4] == "/run/netns" || strings.HasPrefix(f[4], "/run/netns/") || strings.HasPrefix(f[4], "/var/run/netns") {
			continue
		}
		lines = append(lines, strings.Join([]string{f[4], f[5], f[dash+1], f[dash+3]}, " "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
