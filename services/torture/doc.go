// Package torture runs a whole cluster in one process against a model of what it may answer.
//
// The parts are the real ones: a leader and replicas on a metadata log that loses requests and answers, two nodes with their lanes, hot
// logs on file systems that crash, readers, janitors, tiering workers and a sweeper on an object store that fails. Random producers,
// consumers and administrators use it while nodes crash, epochs and leaders change, leases expire and topics come and go. After each
// round every partition is read from its log start to its high watermark, on both nodes, and compared with what producers were
// told:
//
//   - Every acknowledged batch is where it was said to be; every read of an offset, ever, brings the same record.
//   - What was refused for good is nowhere; what is there was produced, and once; producers' order is kept.
//   - Offsets have no gaps; log start and high watermark never go back.
//   - What the state refers to exists; what it does not is deleted.
//
// Runs are seeded, but goroutines race, so a seed replays the choices and not the schedule. More than the few seconds of an
// ordinary run:
//
//	TORTURE_ROUNDS=200 TORTURE_SEED=7 go test -run Torture -timeout 0 ./services/torture
package torture
