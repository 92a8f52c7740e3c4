// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"flyover/test/lab/labtest"
)

// judgeProgram is somebody else's client of RFC 5780: it finds out how a NAT behaves by what an endpoint can see.
const (
	judgeProgram = "stun-nat-behaviour"
	judgePackage = "github.com/pion/stun/v3/cmd/" + judgeProgram
)

// opinion is what the judge says, in its words.
type opinion struct {
	Mapping, Filtering string
}

// The judge's words.
const (
	independent = "endpoint independent"
	byAddress   = "address dependent"
	byPort      = "address and port dependent"
)

// trial is a NAT that the judge is asked about.
type trial struct {
	datapath string
	keys     string // of the configuration; empty: the defaults
	// taken says that ns2 has used the mapping test's source port before. A NAT that keeps ports where it can looks independent of the
	// remote until it cannot.
	taken bool
	want  opinion
}

var trials = []trial{
	{flyover, "", true, opinion{independent, byAddress}},
	{flyover, "filtering: endpoint-independent", true, opinion{independent, independent}},
	{flyover, "mapping: endpoint-dependent", true, opinion{byPort, byPort}},
	{linux, "", false, opinion{independent, byPort}},
	// With the source port taken, Linux keeps the port that it has changed to for what the endpoint sends afterwards.
	{linux, "", true, opinion{byAddress, byPort}},
}

// judgePreface is what the file says before what the judge says.
const judgePreface = `
## An outside judge

What somebody else's program says: ` + "`stun-nat-behaviour`" + ` of [pion](https://github.com/pion/stun), a client of RFC 5780, in an endpoint's
namespace. It asks a STUN server with two addresses and two ports outside. The source port is *taken* if another endpoint has sent from
the same one to the server's other address before, as happens where there are many. As long as it is free, a NAT that keeps ports where
it can looks endpoint independent, whatever it is.

| datapath | configuration | source port | mapping | filtering |
|---|---|---|---|---|
`

// The local ports of the judge's two tests. It binds to none itself: each is the only one that a socket can get at the time. With the
// mapping test's port, the filtering test could get an answer from where the mapping test has sent to.
const (
	mappingPort   = 5000
	filteringPort = 5001
)

// judgePatience is how many seconds the judge waits for an answer before it takes it for filtered: more than any answer takes.
const judgePatience = "2"

// checkTrials asks the judge about each NAT in a lab of its own.
func checkTrials(t *testing.T) {
	for i, tr := range trials {
		t.Run(tr.name(), func(t *testing.T) {
			t.Parallel()
			checkTrial(t, i, tr)
		})
	}
}

func checkTrial(t *testing.T, i int, tr trial) {
	t.Helper()
	inLab := false
	labtest.Alone(t, func(t *testing.T) {
		inLab = true
		stayOnOneCPU(t, i)
		h := &host{t: t, ebpf: tr.datapath == flyover, addr: addr4}
		h.part("", func() {
			store(t, tr.name(), h.ask(tr))
			h.always()
		})
		if len(h.failures) > 0 {
			t.Error(strings.Join(h.failures, "; "))
		}
	})
	if inLab {
		return
	}
	got := load[opinion](t, tr.name())
	results.Lock()
	results.judged[tr.name()] = got
	results.Unlock()
	if got != tr.want {
		t.Errorf("the judge says %q, want %q", got, tr.want)
	}
}

// name is that of its test and of its result.
func (tr trial) name() string {
	words := []string{"judge", tr.datapath, cmp.Or(tr.keys, "defaults")}
	if tr.taken {
		words = append(words, "taken")
	}
	return strings.NewReplacer(": ", "-", " ", "-").Replace(strings.Join(words, "-"))
}

// ask brings the network up and runs the judge in ns1.
func (h *host) ask(tr trial) opinion {
	h.t.Helper()
	h.up(tr.keys)
	server := h.stunServer()
	if tr.taken {
		// Not towards the other address's other port: there a NAT that keeps ports where it can comes back to the source port. Two ports
		// that it chooses could be the same by chance.
		h.mapped(h.udp("ns2", at(addrNS2, mappingPort).String()), at(addrSecond, stunPort).String())
	}
	h.localPort("ns1", mappingPort)
	said := make(chan string, 1)
	go func() {
		out, err := h.try("ns1", judgeProgram, "-server", at(addrOutside, stunPort).String(), "-timeout", judgePatience)
		if err != nil {
			out += err.Error()
		}
		said <- out
	}()
	h.atOutside.wait("request of the judge", 1, flow("", at(addrOutside, stunPort).String()))
	h.localPort("ns1", filteringPort)
	server.serve()
	return h.opinion(<-said)
}

// localPort makes a port the only one that sockets of a namespace get if they do not ask for one. It starts no program: the judge is
// waiting.
func (h *host) localPort(namespace string, port int) {
	h.t.Helper()
	within(h, namespace, func() (struct{}, error) {
		return struct{}{}, os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", fmt.Appendf(nil, "%d %d", port, port), 0o644)
	})
}

// opinion is what the judge's output says.
func (h *host) opinion(said string) opinion {
	h.t.Helper()
	h.t.Log(said)
	got := opinion{h.find(said, "mapping"), h.find(said, "filtering")}
	h.wantAnswers(got)
	return got
}

// judgement renders what the judge says.
func judgement() string {
	var b strings.Builder
	b.WriteString(judgePreface)
	for _, tr := range trials {
		got := results.judged[tr.name()]
		configuration, port := "defaults", "free"
		if tr.keys != "" {
			configuration = "`" + tr.keys + "`"
		}
		if tr.taken {
			port = "taken"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", tr.datapath, configuration, port, got.Mapping, got.Filtering)
	}
	return b.String()
}

// find is the judge's finding about one behaviour.
func (h *host) find(said, behaviour string) string {
	h.t.Helper()
	found := regexp.MustCompile(`=> NAT ` + behaviour + ` behavior: (.+)`).FindStringSubmatch(said)
	if found == nil {
		h.Failf("the judge has no finding about %s", behaviour)
	}
	return found[1]
}

// wantAnswers makes sure that what the judge takes for filtering, that nothing comes, was not the server's silence.
func (h *host) wantAnswers(got opinion) {
	h.t.Helper()
	origins := []string{at(addrSecond, stunOther).String()}
	if got.Filtering != independent { // else the judge has not asked for more
		origins = append(origins, at(addrOutside, stunOther).String())
	}
	// The filtering test comes last, and asks nobody else. The mapping test may have had answers from the same places.
	asked := h.atOutside.All(flow("", at(addrOutside, stunPort).String()))
	judge := asked[len(asked)-1].Source()
	for _, origin := range origins {
		sent := func(f frame) bool { return f.Sent && f.Source().String() == origin && f.Destination() == judge }
		if len(h.atOutside.All(sent)) == 0 {
			h.t.Fatalf("the server has sent no answer from %s", origin)
		}
	}
}
