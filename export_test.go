package wxqrcode

// For tests in package wxqrcode_test.
var (
	NewMemoryStore = func() TokenStore { return newMemoryStore() }
	RequestBody    = Request.body
)
