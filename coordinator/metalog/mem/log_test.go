package mem

import (
	"context"
	"errors"
	"testing"

	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/metalogtest"
)

func TestAcceptance(t *testing.T) {
	metalogtest.Run(t, func(t *testing.T) metalogtest.Open {
		backing := New()
		return func(t *testing.T) metalog.Log { return backing.Open() }
	})
}

func TestFates(t *testing.T) {
	ctx := context.Background()
	for _, row := range []struct {
		name        string
		fate        Fate
		next, after uint64
	}{
		{"a lost request appends nothing", RequestLost, 1, 1},
		{"a lost answer appends", AnswerLost, 2, 2},
		{"a late request appends when it arrives", Late, 1, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			backing := New()
			backing.SetFate(func(uint64, metalog.Kind) Fate { return row.fate })
			log := backing.Open()
			if err := log.Append(ctx, 1, []byte("x"), metalog.Ordinary); !errors.Is(err, ErrLost) {
				t.Fatalf("append: %v, want ErrLost", err)
			}
			if _, next, err := log.Bounds(ctx); err != nil || next != row.next {
				t.Fatalf("next = %d, %v, want %d", next, err, row.next)
			}
			backing.Deliver()
			if _, next, err := log.Bounds(ctx); err != nil || next != row.after {
				t.Fatalf("next after delivery = %d, %v, want %d", next, err, row.after)
			}
		})
	}
}

func TestLateRequestLosesToWhoCameFirst(t *testing.T) {
	ctx := context.Background()
	backing := New()
	backing.SetFate(func(uint64, metalog.Kind) Fate { return Late })
	log := backing.Open()
	if err := log.Append(ctx, 1, []byte("late"), metalog.Ordinary); !errors.Is(err, ErrLost) {
		t.Fatal(err)
	}
	backing.SetFate(nil)
	if err := log.Append(ctx, 1, []byte("first"), metalog.Ordinary); err != nil {
		t.Fatal(err)
	}
	if n := backing.Deliver(); n != 0 {
		t.Fatalf("%d late requests were appended, want none", n)
	}
	if got, _, err := metalog.ReadOne(ctx, log, 1); err != nil || string(got) != "first" {
		t.Fatalf("entry 1 = %q, %v", got, err)
	}
}
