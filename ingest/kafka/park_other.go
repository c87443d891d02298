//go:build !linux

package kafka

import "net"

// parker parks nothing here.
type parker struct{}

type parkedConn struct{}

func newParker(*Server) *parker { return &parker{} }

func isParkable(net.Conn) bool { return false }

func (*parker) take(*conn) bool { return false }
func (*parker) look(*conn)      {}
func (*parker) close()          {}
