// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"flyover/bpf"
	"flyover/loader"
	"flyover/test/lab"
)

// The outside answers at all of 198.19.0.0/16; what goes elsewhere is counted there and ends.
const answering = "198.19.0.0/16"

// network is the default one with what a test wants of it. Its ports are all that there are.
const network = `
sessions: %d
networks:
  - name: br1
    subnets: [192.168.15.0/24]
    gateway: 192.168.15.10
%s    endpoints:
      - {namespace: ns1, addresses: [192.168.15.1]}
      - {namespace: ns2, addresses: [192.168.15.2]}
`

// Lines of a network.
const (
	allPorts = "    ports: 1024-65535\n"
	noLimits = "    limits: {sessions: 0, mappings: 0, rate: 0, burst: 0}\n"
)

// up brings the network up, with so many sessions and more lines, and lets the outside answer.
func up(o options, sessions int, lines string) error {
	file, err := os.CreateTemp("", "scale-*.yaml")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if _, err := fmt.Fprintf(file, network, sessions, lines); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if _, err := command(o.flyover, "up", "-f", file.Name()); err != nil {
		return err
	}
	_, err = command("ip", "-n", lab.OutsideNamespace, "route", "add", "local", answering, "dev", "lo")
	return err
}

func command(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func pins() loader.Pins { return loader.NewPins(loader.BPFFS) }

// counters are what may lose or refuse packets.
type counters struct {
	reasons map[string]uint64 // packets by program and reason
	backlog uint64            // of the whole machine: packets that found a CPU's queue full
	devices uint64            // packets that the lab's interfaces dropped
}

func readCounters() (counters, error) {
	c := counters{reasons: map[string]uint64{}}
	all, err := pins().Reasons()
	if err != nil {
		return c, err
	}
	for point, reasons := range all {
		for reason, tally := range reasons {
			c.reasons[string(point)+" "+reason.String()] = tally.Packets
		}
	}
	if c.backlog, err = backlogDrops(); err != nil {
		return c, err
	}
	for _, namespace := range []string{"", "ns1", "ns2", lab.OutsideNamespace} {
		n, err := deviceDrops(namespace)
		if err != nil {
			return c, err
		}
		c.devices += n
	}
	return c, nil
}

// backlogDrops is the second column of softnet_stat, hexadecimal, over all CPUs.
func backlogDrops() (sum uint64, err error) {
	text, err := os.ReadFile("/proc/net/softnet_stat")
	for line := range strings.Lines(string(text)) {
		n, err := strconv.ParseUint(strings.Fields(line)[1], 16, 64)
		if err != nil {
			return 0, fmt.Errorf("read softnet_stat: %w", err)
		}
		sum += n
	}
	return sum, err
}

// deviceDrops sums the drops of all interfaces of a namespace, either way. "" is the host.
func deviceDrops(namespace string) (sum uint64, err error) {
	name, args := "cat", []string{"/proc/net/dev"}
	if namespace != "" {
		name, args = "ip", []string{"netns", "exec", namespace, "cat", "/proc/net/dev"}
	}
	text, err := command(name, args...)
	for line := range strings.Lines(text) {
		_, numbers, found := strings.Cut(line, ":")
		fields := strings.Fields(numbers)
		if !found || len(fields) < 16 {
			continue
		}
		for _, column := range []int{3, 11} { // dropped when received, when sent
			n, err := strconv.ParseUint(fields[column], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read /proc/net/dev: %w", err)
			}
			sum += n
		}
	}
	return sum, err
}

// report prints what has been counted since before: refusals, and losses that are not flyover's.
func (c counters) report() error {
	now, err := readCounters()
	if err != nil {
		return err
	}
	var refused []string
	for reason, n := range now.reasons {
		isDrop := strings.Contains(reason, "DROP_") && !strings.HasSuffix(reason, bpf.DatapathReasonDROP_IPV6.String())
		if n -= c.reasons[reason]; n > 0 && isDrop {
			refused = append(refused, fmt.Sprintf("%s %d", reason, n))
		}
	}
	slices.Sort(refused)
	if len(refused) == 0 {
		refused = []string{"none"}
	}
	say("refused by flyover", "%s", strings.Join(refused, ", "))
	say("dropped by the machine's CPU queues", "%d (other causes than flyover's)", now.backlog-c.backlog)
	say("dropped by the lab's interfaces", "%d (flyover's drops from uplinks and endpoints included)", now.devices-c.devices)
	return nil
}
