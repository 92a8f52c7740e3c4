// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/json"
	"strconv"
	"testing"

	"flyover/test/packet"
)

// stranger is a MAC that is nobody's by configuration.
var stranger = packet.MAC{2, 0, 0, 0, 0, 0x64}

// fdbEntry is what `bridge -s -j fdb` has of a MAC.
type fdbEntry struct {
	MAC     string `json:"mac"`
	Port    string `json:"ifname"`
	Updated int    `json:"updated"` // seconds ago
}

// known is what the bridge knows of the MAC. Port is empty if that is nothing.
func (s *segment) known(mac packet.MAC) fdbEntry {
	s.h.t.Helper()
	var all []fdbEntry
	if err := json.Unmarshal([]byte(s.h.run("", "bridge", "-s", "-j", "fdb", "show", "br", "br1")), &all); err != nil {
		s.h.t.Fatal(err)
	}
	for _, e := range all {
		if e.MAC == macText(mac) {
			return e
		}
	}
	return fdbEntry{}
}

// as sends a frame of the MAC from the endpoint of the namespace.
func (s *segment) as(namespace string, from, to packet.MAC) func(frame) bool {
	s.h.t.Helper()
	s.marks++
	data := numbered(to, from, experimental, s.marks, 60)
	s.h.inject(namespace, "veth-"+namespace, data)
	return marked(data[6:18])
}

// learned waits for the bridge to know the MAC at the endpoint of the namespace.
func (s *segment) learned(namespace string, mac packet.MAC) {
	s.h.t.Helper()
	s.h.until("entry of "+macText(mac)+" at "+namespace, func() bool { return s.known(mac).Port == "veth-"+namespace+"-br" })
}

// leads sends a frame of ns2 to the MAC, which is to arrive at one of the captures and not at the other.
func (s *segment) leads(to packet.MAC, at, not *capture) {
	s.h.t.Helper()
	match := s.as("ns2", s.other, to)
	at.wait("frame to "+macText(to), 1, match)
	s.fence()
	not.none("a frame to a known MAC is flooded", match)
}

func checkLearning(_ *testing.T, h *host) {
	s := upOpenSegment(h)
	s.fence()
	h.part("learned", func() {
		s.as("ns1", stranger, s.other)
		s.learned("ns1", stranger)
		s.leads(stranger, s.atNS1, s.atNS3)
	})
	h.part("moved", func() {
		s.as("ns3", stranger, s.other)
		s.learned("ns3", stranger)
		s.leads(stranger, s.atNS3, s.atNS1)
	})
	for name, mac := range map[string]packet.MAC{"group": {3, 0, 0, 0, 0, 0x65}, "zero": {}} {
		h.part(name, func() {
			s.as("ns1", mac, s.other)
			s.fence()
			if e := s.known(mac); e.Port != "" {
				h.Failf("learned")
			}
		})
	}
	h.part("static", func() {
		before := s.known(s.other).Port
		s.as("ns1", s.other, packet.Broadcast)
		s.as("ns1", s.other, s.third)
		s.fence()
		if got := s.known(s.other).Port; got != before {
			h.Failf("moves to %s", got)
		}
		match := s.as("ns3", s.third, s.other)
		s.atNS2.wait("frame to a MAC that was forged", 1, match)
	})
	h.part("the bridge's", func() {
		before := s.known(s.gateway).Port
		s.as("ns1", s.gateway, packet.Broadcast)
		s.fence()
		if got := s.known(s.gateway).Port; got != before {
			h.Failf("moves to %s", got)
		}
	})
}

// ageing sets the bridge's timer, in hundredths of a second.
func (s *segment) ageing(hundredths int) {
	s.h.t.Helper()
	s.h.run("", "ip", "link", "set", "br1", "type", "bridge", "ageing_time", strconv.Itoa(hundredths))
}

// ageingNow is that timer.
func (s *segment) ageingNow() int {
	s.h.t.Helper()
	var links []struct {
		Info struct {
			Data struct {
				Ageing int `json:"ageing_time"`
			} `json:"info_data"`
		} `json:"linkinfo"`
	}
	if err := json.Unmarshal([]byte(s.h.run("", "ip", "-d", "-j", "link", "show", "br1")), &links); err != nil {
		s.h.t.Fatal(err)
	}
	return links[0].Info.Data.Ageing
}

func checkAgeing(_ *testing.T, h *host) {
	s := upOpenSegment(h)
	const usual = 300 * 100
	h.part("default", func() {
		if got := s.ageingNow(); got != usual {
			h.Failf("%d hundredths of a second", got)
		}
	})
	h.part("range", func() {
		for _, seconds := range []int{10, 1000000} {
			s.ageing(seconds * 100)
			if got := s.ageingNow(); got != seconds*100 {
				h.Failf("%d s become %d hundredths", seconds, got)
			}
		}
		s.ageing(usual)
	})
	h.part("refreshed", func() {
		s.as("ns1", stranger, s.other)
		s.learned("ns1", stranger)
		h.until("entry that is older than a second", func() bool { return s.known(stranger).Updated > 1 })
		h.until("entry that is younger again", func() bool {
			s.as("ns1", stranger, s.other)
			return s.known(stranger).Updated <= 1
		})
	})
	h.part("aged", func() {
		s.ageing(100)
		h.until("end of the entry", func() bool { return s.known(stranger).Port == "" })
		s.fence()
		if s.known(s.other).Port == "" {
			h.Failf("a static entry ages")
		}
		match := s.as("ns2", s.other, stranger)
		for _, at := range []*capture{s.atNS1, s.atNS3} {
			at.wait("frame to a MAC that is forgotten", 1, match)
		}
	})
}
