// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Command runs a command in a network namespace, "" being the lab host's, for so long at most, and returns all it printed.
func Command(most time.Duration, namespace string, argv ...string) (string, error) {
	if namespace != "" {
		argv = append([]string{"ip", "netns", "exec", namespace}, argv...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return out.String(), nil
}
