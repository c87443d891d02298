//go:build linux

package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

const listenVariable = "VARVE_NETNS_TEST_LISTEN"

// TestMain runs the tests in namespaces of their own, or, as another process of the test, a listener in one of the network's.
func TestMain(m *testing.M) {
	if address := os.Getenv(listenVariable); address != "" {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			os.Exit(1)
		}
		for {
			conn, err := listener.Accept()
			if err != nil {
				os.Exit(1)
			}
			_ = conn.Close()
		}
	}
	inside, code, err := Enter()
	switch {
	case errors.Is(err, ErrNotPermitted):
		fmt.Println("skipped:", err)
		os.Exit(0)
	case err != nil:
		fmt.Println(err)
		os.Exit(1)
	case !inside:
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// dial tells whether a connection to address is made in a moment.
func dial(address string, patience time.Duration) error {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err == nil {
		err = conn.Close()
	}
	return err
}

func TestPacketsAreLostInTheDirectionThatIsBlocked(t *testing.T) {
	n, err := New()
	if err != nil {
		t.Fatal(err)
	}
	outside, err := n.Outside("outside", 1)
	if err != nil {
		t.Fatal(err)
	}
	host, err := n.Host("varve-test", 101)
	if err != nil {
		t.Fatal(err)
	}
	address := host.Address + ":7000"
	command := host.Command("/proc/self/exe")
	command[len(command)-1] = "/proc/" + fmt.Sprint(os.Getpid()) + "/exe"
	listener := exec.Command(command[0], command[1:]...)
	listener.Env = append(os.Environ(), listenVariable+"="+address)
	if err := listener.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = listener.Process.Kill()
		_ = listener.Wait() // it was killed
	})
	for deadline := time.Now().Add(30 * time.Second); dial(address, time.Second) != nil; {
		if time.Now().After(deadline) {
			t.Fatal("the host does not listen")
		}
	}
	for _, l := range [][2]*Host{{outside, host}, {host, outside}} {
		name := l[0].Name + " to " + l[1].Name
		for range 2 {
			if err := n.Block(l[0], l[1]); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.Unblock(l[0], l[1]); err != nil {
			t.Fatal(err)
		}
		if dial(address, 200*time.Millisecond) == nil {
			t.Errorf("%s is blocked once more than unblocked, and a connection is made", name)
		}
		if err := n.Unblock(l[0], l[1]); err != nil {
			t.Fatal(err)
		}
		if err := dial(address, 30*time.Second); err != nil {
			t.Errorf("%s is open again: %v", name, err)
		}
	}
}
