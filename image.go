package wxqrcode

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// An Image is a picture of a code.
type Image struct {
	ContentType string // image/jpeg as a rule, else image/png or image/gif: read off Data
	Data        []byte
}

// maxImage is how many bytes of a picture are taken; WeChat's have about 28 KB.
const maxImage = 4 << 20

// ImageURL returns the address of the code's picture at the host of
// [WithImageURL]. See [Ticket.ImageURL].
func (c *Client) ImageURL(t Ticket) string {
	if c.images == nil { // the zero Client, which fails elsewhere with an error
		return t.ImageURL()
	}
	return c.images.hosts[0] + imagePath + imageQuery + url.QueryEscape(string(t))
}

// Image fetches the picture of a code: a JPEG of 430 × 430 pixels. It needs no
// access token.
//
// It returns [ErrTicketNotFound] if the ticket is wrong or its code is dead, and
// [ErrUnexpectedResponse] if what comes is no JPEG, PNG or GIF, ends early or has
// more than 4 MiB. The picture is not decoded. A [*ValidationError] says that the
// ticket is empty, or was URL-escaped before.
//
// See https://developers.weixin.qq.com/doc/offiaccount/Account_Management/Generating_a_Parametric_QR_Code.html.
func (c *Client) Image(ctx context.Context, t Ticket) (*Image, error) {
	var image *Image
	err := c.fetchImage(ctx, t, func(body *imageBody) error {
		data, err := io.ReadAll(body)
		image = &Image{ContentType: body.contentType, Data: data}
		return err
	})
	if err != nil {
		return nil, err
	}
	return image, nil
}

// WriteImage copies the picture of a code to w as it comes, and returns how many
// bytes it wrote. It fails as [Client.Image] does, or with the error of w; then
// the picture may have been written in part, which [Client.SaveImage] never does.
// Once writing has begun there is no further try.
func (c *Client) WriteImage(ctx context.Context, w io.Writer, t Ticket) (int64, error) {
	var written int64
	err := c.fetchImage(ctx, t, func(body *imageBody) error {
		body.call.once = true
		var err error
		written, err = io.Copy(w, body)
		switch {
		case body.err != nil: // which w may have swallowed
			return body.err
		case err != nil:
			return fmt.Errorf("wxqrcode: write image: %w", err)
		}
		return nil
	})
	return written, err
}

// SaveImage writes the picture of a code into the file path: the whole picture
// or, after any error, nothing. It writes beside the target, syncs and renames, so
// that a file which was there stays as it was until it is replaced. The new file
// has the mode of the old one, or 0666 less the umask.
//
// It fails as [Client.Image] does, or with the error of the file system; an empty path
// is a [*ValidationError].
func (c *Client) SaveImage(ctx context.Context, path string, t Ticket) error {
	if path == "" {
		return &ValidationError{Field: "path", Reason: "is empty"}
	}
	image, err := c.Image(ctx, t)
	if err != nil {
		return err
	}
	if err := replaceFile(path, bytes.NewReader(image.Data)); err != nil {
		return fmt.Errorf("wxqrcode: save image: %w", err)
	}
	return nil
}

// fetchImage hands the picture of t to use.
func (c *Client) fetchImage(ctx context.Context, t Ticket, use func(*imageBody) error) error {
	if c.images == nil {
		return errZeroClient
	}
	if err := t.validate(); err != nil {
		return err
	}
	r := &call{op: opImage, method: http.MethodGet, path: imagePath, query: imageQuery, value: url.QueryEscape(string(t)), timeout: imageTimeout}
	return c.images.do(ctx, r, func(res *http.Response) error {
		// As many bytes as DetectContentType looks at.
		head, err := io.ReadAll(io.LimitReader(res.Body, 512))
		if err != nil {
			return r.cut(res, head, err)
		}
		kind := http.DetectContentType(head)
		switch {
		case res.StatusCode != http.StatusOK, !isImageType(res.Header.Get("Content-Type")),
			kind != "image/jpeg" && kind != "image/png" && kind != "image/gif":
			return r.noImage(res, head)
		}
		return use(&imageBody{call: r, res: res, body: io.MultiReader(bytes.NewReader(head), res.Body), contentType: kind})
	})
}

// isImageType takes image/jpg too, which is what WeChat sends.
func isImageType(contentType string) bool {
	return contentType == "" || strings.HasPrefix(strings.ToLower(contentType), "image/")
}

// noImage returns the error for an answer that begins with head and is no picture.
func (r *call) noImage(res *http.Response, head []byte) error {
	rest, err := r.readAll(res, maxJSON)
	if err != nil {
		return err
	}
	body := append(head, rest...)
	var f failure
	if json.Unmarshal(body, &f) == nil && f.Code != 0 {
		return r.refused(res, f)
	}
	switch {
	case res.StatusCode == http.StatusNotFound: // with a page that says no more
		return r.unexpected(res, "no such ticket", nil)
	case res.StatusCode/100 == 3:
		return r.unexpected(res, r.page(res), body)
	case len(body) == 0:
		return r.unexpected(res, "an empty body", nil)
	}
	return r.unexpected(res, "no picture", body)
}

// An imageBody reads a picture. Its errors are complete: no limit or failure of the
// connection looks like the end.
type imageBody struct {
	call        *call
	res         *http.Response
	body        io.Reader
	contentType string
	read        int
	err         error
}

func (b *imageBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.body.Read(p[:min(len(p), maxImage+1-b.read)])
	b.read += n
	switch {
	case b.read > maxImage:
		b.err = b.call.unexpected(b.res, fmt.Sprintf("a picture of over %d bytes", maxImage), nil)
		return n - 1, b.err
	case err != nil && err != io.EOF:
		b.err = b.call.cut(b.res, nil, err)
		return n, b.err
	}
	return n, err
}
