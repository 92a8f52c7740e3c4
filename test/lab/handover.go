// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// specEnv carries the spec from the caller to PID 1, which removes it from its environment: labs may be nested.
const specEnv = "FLYOVER_LAB_INIT"

// reportFD is PID 1's descriptor for the report: the first one after the standard three.
const reportFD = 3

// spec is what PID 1 needs to know from the caller.
type spec struct {
	Command []string `json:"command"`
	// Foreground tells that the caller owns the terminal on stdin and lends it to the command. PID 1 could not find
	// out: seen from the new PID namespace, every process group outside has the number 0.
	Foreground bool `json:"foreground"`
}

// report is why PID 1 did not come to the command. No report means that it did.
type report struct {
	Message   string `json:"message"`
	Privilege bool   `json:"privilege"`
}

// IsInit tells whether this process is a lab's PID 1 on its way to Run. A program that may do something else before it
// gets there, like a test binary's TestMain, asks first and then calls Run.
func IsInit() bool {
	return os.Getpid() == 1 && os.Getenv(specEnv) != ""
}

func (s spec) environ(extra []string) ([]string, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode lab command: %w", err)
	}
	env := append(os.Environ(), extra...)
	return append(env, specEnv+"="+string(text), MarkerEnv+"=1"), nil
}

func takeSpec() (s spec, err error) {
	text := os.Getenv(specEnv)
	if err := os.Unsetenv(specEnv); err != nil {
		return s, fmt.Errorf("clear environment: %w", err)
	}
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&s); err != nil {
		return s, fmt.Errorf("decode lab command: %w", err)
	}
	return s, nil
}

func (r report) err() error {
	if r.Privilege {
		return fmt.Errorf("%s: %w", r.Message, ErrPrivilege)
	}
	return errors.New(r.Message)
}

func reportOf(err error) report {
	return report{Message: err.Error(), Privilege: isPrivilege(err)}
}

func isPrivilege(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, syscall.EACCES)
}
