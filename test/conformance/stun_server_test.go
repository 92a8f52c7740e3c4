// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net"
	"net/netip"

	"github.com/pion/stun/v3"
)

// The server's ports. Each of the outside's addresses has both.
const (
	stunPort  = 3478
	stunOther = 3479
)

// stunServer answers binding requests from two addresses with two ports each: its sockets by address and port. To change either is to
// go to the other index.
type stunServer [2][2]*net.UDPConn

// stunServer opens the sockets at the outside's addresses; they end with the test. What comes before serve waits for it.
func (h *host) stunServer() stunServer {
	h.t.Helper()
	var s stunServer
	for a, address := range []string{addrOutside, addrSecond} {
		for p, port := range []uint16{stunPort, stunOther} {
			s[a][p] = h.udp(outside, at(address, port).String())
		}
	}
	return s
}

// serve answers until the test ends.
func (s stunServer) serve() {
	for a := range s {
		for p := range s[a] {
			go s.answer(a, p)
		}
	}
}

// answer answers what comes to one socket, and nothing but binding requests, until it is closed.
func (s stunServer) answer(a, p int) {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := s[a][p].ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		request := stun.New()
		if stun.Decode(buffer[:n], request) != nil || request.Type != stun.BindingRequest {
			continue
		}
		changeAddress, changePort := changeRequest(request)
		origin := s[a^changeAddress][p^changePort]
		if success, err := bindingSuccess(request, from, localEnd(origin), localEnd(s[1-a][1-p])); err == nil {
			_, _ = origin.WriteToUDPAddrPort(success.Raw, from)
		}
	}
}

// changeRequest says, each as 0 or 1, if the answer has to come from the other address and from the other port (RFC 5780 section 7.2).
func changeRequest(request *stun.Message) (changeAddress, changePort int) {
	value, err := request.Get(stun.AttrChangeRequest)
	if err != nil || len(value) != 4 {
		return 0, 0
	}
	return int(value[3] >> 2 & 1), int(value[3] >> 1 & 1)
}

// bindingSuccess has what section 6.1 asks for. The other address is that of the socket with neither address nor port in common with
// the one that was asked, whatever was to change.
func bindingSuccess(request *stun.Message, client, origin, other netip.AddrPort) (*stun.Message, error) {
	return stun.Build(stun.NewTransactionIDSetter(request.TransactionID), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: client.Addr().AsSlice(), Port: int(client.Port())},
		&stun.MappedAddress{IP: client.Addr().AsSlice(), Port: int(client.Port())},
		&stun.ResponseOrigin{IP: origin.Addr().AsSlice(), Port: int(origin.Port())},
		&stun.OtherAddress{IP: other.Addr().AsSlice(), Port: int(other.Port())})
}

func localEnd(conn *net.UDPConn) netip.AddrPort {
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}
