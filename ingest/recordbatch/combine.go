package recordbatch

// crcPolynomial is Castagnoli's, x^32 left out, the coefficient of x^0 in the highest bit as in all that follows.
const crcPolynomial = 0x82f63b78

// crcOne is the polynomial 1.
const crcOne = 1 << 31

// crcPowers[k] is x^(2^k).
var crcPowers = func() (p [66]uint32) {
	p[0] = crcOne >> 1
	for k := 1; k < len(p); k++ {
		p[k] = multiplyCRC(p[k-1], p[k-1])
	}
	return p
}()

// multiplyCRC returns the product of a and b modulo the polynomial.
func multiplyCRC(a, b uint32) uint32 {
	product := uint32(0)
	for ; a != 0; a <<= 1 {
		product ^= b & uint32(int32(a)>>31)
		b = b>>1 ^ crcPolynomial&-(b&1)
	}
	return product
}

// combineCRC returns the CRC-32C of two pieces of data, one behind the other, from that of each and the length of the second in bytes. It takes
// about half a microsecond, however long they are.
func combineCRC(first, second uint32, secondBytes int) uint32 {
	shift := uint32(crcOne) // x^(8*secondBytes)
	for k, n := 3, uint(secondBytes); n != 0; k, n = k+1, n>>1 {
		if n&1 != 0 {
			shift = multiplyCRC(crcPowers[k], shift)
		}
	}
	return multiplyCRC(shift, first) ^ second
}
