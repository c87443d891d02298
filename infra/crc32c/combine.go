// Package crc32c puts checksums together that hash/crc32 computes with its Castagnoli table.
package crc32c

// polynomial is Castagnoli's, x^32 left out, the coefficient of x^0 in the highest bit as in all that follows.
const polynomial = 0x82f63b78

// one is the polynomial 1.
const one = 1 << 31

// powers[k] is x^(2^k).
var powers = func() (p [66]uint32) {
	p[0] = one >> 1
	for k := 1; k < len(p); k++ {
		p[k] = multiply(p[k-1], p[k-1])
	}
	return p
}()

// multiply returns the product of a and b modulo the polynomial.
func multiply(a, b uint32) uint32 {
	product := uint32(0)
	for ; a != 0; a <<= 1 {
		product ^= b & uint32(int32(a)>>31)
		b = b>>1 ^ polynomial&-(b&1)
	}
	return product
}

// Combine returns the checksum of two pieces of data, one behind the other, from the checksum of each and the length of the second in bytes. It takes
// about half a microsecond, however long they are.
func Combine(first, second uint32, secondBytes int) uint32 {
	shift := uint32(one) // x^(8*secondBytes)
	for k, n := 3, uint(secondBytes); n != 0; k, n = k+1, n>>1 {
		if n&1 != 0 {
			shift = multiply(powers[k], shift)
		}
	}
	return multiply(shift, first) ^ second
}
