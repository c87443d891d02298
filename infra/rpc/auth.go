package rpc

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/varvelog/varve/infra/proof"
)

const (
	// requestHeader carries the code by which a caller proves that it knows the cluster's secret and has made this request.
	requestHeader = "Authorization"
	requestScheme = "Varve-HMAC "
	// bodyHeader is the SHA-256 of the body, in base64, absent where there is none. The request's code covers it, so that a request is judged,
	// and its name taken, before its body is read.
	bodyHeader = "Varve-Body"
	// answerHeader carries the code by which a callee proves that it knows the secret, too, and has been asked this.
	answerHeader = "Varve-Proof"
	// refusedProof stands for a code in the answer to a request that does not prove anything. Builds that did not sign did not send it.
	refusedProof = "refused"
	// bearerScheme is what builds before signed requests showed: one token for all calls.
	bearerScheme = "Varve "
)

// signer signs and checks requests and answers. Nothing that travels opens anything again: a request is executed once, by the incarnation
// that it names, and an answer is one to its request. No clock is asked.
type signer struct{ requests, answers, callees *proof.Key }

func newSigner(secret []byte, clusterID string) *signer {
	return &signer{
		requests: proof.NewKey(secret, "varve internal request v2", clusterID),
		answers:  proof.NewKey(secret, "varve internal answer v2", clusterID),
		callees:  proof.NewKey(secret, "varve internal callee v2", clusterID),
	}
}

// sign proves r, whose other headers are set.
func (s *signer) sign(r *http.Request, body []byte) {
	if len(body) > 0 {
		r.Header.Set(bodyHeader, bodyHash(body))
	}
	r.Header.Set(requestHeader, encodeCode(requestScheme, s.requests.Append(make([]byte, 0, proof.Size), signed(r))))
}

// signs says whether r was made by somebody who knows the secret. Whether its body is the one that it was made with, hasBody says.
func (s *signer) signs(r *http.Request) bool {
	text, ok := strings.CutPrefix(r.Header.Get(requestHeader), requestScheme)
	return ok && s.requests.Proves(decodeCode(text), signed(r))
}

// signed is what of a request decides what it does: everything but the address, which callees do not know; the call's name says which of them is meant.
func signed(r *http.Request) []byte {
	text := make([]byte, 0, 512)
	// None of them can hold a line break.
	for _, part := range [...]string{r.Method, r.URL.RequestURI(), r.Header.Get(callHeader), r.Header.Get(timeoutHeader), r.Header.Get("Upgrade"), r.Header.Get(bodyHeader)} {
		text = append(append(text, part...), '\n')
	}
	return text
}

// hasBody says whether body is the one that r, which was signed, was made with.
func hasBody(r *http.Request, body []byte) bool {
	stated := r.Header.Get(bodyHeader)
	if len(body) == 0 {
		return stated == ""
	}
	return stated == bodyHash(body)
}

func bodyHash(body []byte) string {
	hash := sha256.Sum256(body)
	return base64.StdEncoding.EncodeToString(hash[:])
}

// answer is the code of a whole answer to a call, which its request's code names.
func (s *signer) answer(request string, status int, body []byte) string {
	return encodeCode("", s.answers.Append(make([]byte, 0, proof.Size), answered(request, status), body))
}

// isAnswer says whether code is that of the answer.
func (s *signer) isAnswer(code, request string, status int, body []byte) bool {
	return s.answers.Proves(decodeCode(code), answered(request, status), body)
}

func answered(request string, status int) []byte {
	return append([]byte(request), byte(status>>8), byte(status))
}

// callee is the code of whoever answers a read or opens a stream. It says who that is, and nothing of the bytes.
func (s *signer) callee(request string) string {
	return encodeCode("", s.callees.Append(make([]byte, 0, proof.Size), []byte(request)))
}

func (s *signer) isCallee(code, request string) bool {
	return s.callees.Proves(decodeCode(code), []byte(request))
}

func encodeCode(scheme string, code []byte) string {
	text := make([]byte, 0, 64)
	return string(base64.StdEncoding.AppendEncode(append(text, scheme...), code))
}

// decodeCode returns nil, which proves nothing, for what is not a code.
func decodeCode(text string) []byte {
	code, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return code
}
