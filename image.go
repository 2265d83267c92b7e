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

	"github.com/seed-0142d113/wxqrcode/internal/atomicfile"
)

// An Image is the image of a code.
type Image struct {
	ContentType string // image/jpeg, image/png or image/gif, detected from Data; usually image/jpeg
	Data        []byte
}

const (
	maxImage   = 4 << 20 // bytes of an image; WeChat's have about 28 KB
	imagePath  = "/cgi-bin/showqrcode"
	imageQuery = "?ticket="
)

// ImageURL returns the URL of the code's image at the base URL of
// [WithImageURL]. See [Ticket.ImageURL].
func (c *Client) ImageURL(t Ticket) string {
	if c.images == nil { // the zero Client, whose other methods return an error
		return t.ImageURL()
	}
	return c.images.hosts[0] + imagePath + imageQuery + url.QueryEscape(string(t))
}

// Image fetches the image of a code: a JPEG of 430 × 430 pixels. It needs no
// access token.
//
// The error matches [ErrTicketNotFound] if the ticket is wrong or its code
// expired, and [ErrUnexpectedResponse] if the response is not a JPEG, PNG or
// GIF, ends early or exceeds 4 MiB. The image is not decoded. A
// [*ValidationError] reports a ticket that is empty or URL-escaped.
//
// See https://developers.weixin.qq.com/doc/offiaccount/Account_Management/Generating_a_Parametric_QR_Code.html.
func (c *Client) Image(ctx context.Context, t Ticket) (*Image, error) {
	return fetchImage(ctx, c, t, func(body *imageBody) (*Image, error) {
		data, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		return &Image{ContentType: body.contentType, Data: data}, nil
	})
}

// WriteImage copies the image of a code to w as it arrives and returns the
// number of bytes written. It fails as [Client.Image] does, or with the error
// of w. After an error w may have received a part of the image;
// [Client.SaveImage] never leaves a part. Once writing has begun there is no
// retry.
func (c *Client) WriteImage(ctx context.Context, w io.Writer, t Ticket) (int64, error) {
	return fetchImage(ctx, c, t, func(body *imageBody) (int64, error) {
		n, err := io.Copy(w, body)
		switch {
		case body.err != nil: // a ReadFrom method of w may have ignored it
			return n, &writeError{body.err}
		case err != nil:
			return n, &writeError{fmt.Errorf("wxqrcode: write image: %w", err)}
		}
		return n, nil
	})
}

// A writeError is an error after writing has begun. It is not transient.
type writeError struct{ error }

func (e *writeError) Unwrap() error { return e.error }

// SaveImage writes the image of a code to the file path: the whole image or,
// after any error, nothing. It writes a temporary file in the same directory,
// syncs it and renames it, so that an existing file is unchanged until it is
// replaced. The new file has the mode of the existing one, or 0666 before
// umask. A symbolic link is followed: the file that it points to is replaced.
//
// It fails as [Client.Image] does, or with the error of the file system; an
// empty path is a [*ValidationError].
func (c *Client) SaveImage(ctx context.Context, path string, t Ticket) error {
	if path == "" {
		return invalidRequest("path", "", "must not be empty")
	}
	image, err := c.Image(ctx, t)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, image.Data); err != nil {
		return fmt.Errorf("wxqrcode: save image: %w", err)
	}
	return nil
}

// fetchImage requests the image of t and returns what use makes of it.
func fetchImage[T any](ctx context.Context, c *Client, t Ticket, use func(*imageBody) (T, error)) (v T, err error) {
	if c.images == nil {
		return v, errZeroClient
	}
	if err := t.validate(); err != nil {
		return v, err
	}
	return doWithRetry(ctx, c.images, &apiRequest{
		op:      opImage,
		method:  http.MethodGet,
		path:    imagePath,
		query:   imageQuery + url.QueryEscape(string(t)),
		timeout: imageTimeout,
		redact:  c.redact,
	}, func(r *apiRequest, res *http.Response) (v T, err error) {
		body, err := newImageBody(r, res)
		if err != nil {
			return v, err
		}
		return use(body)
	})
}

// newImageBody checks that a response is an image.
func newImageBody(r *apiRequest, res *http.Response) (*imageBody, error) {
	head, err := io.ReadAll(io.LimitReader(res.Body, 512)) // as many bytes as DetectContentType reads
	if err != nil {
		return nil, r.truncatedBody(res, err)
	}
	contentType := http.DetectContentType(head)
	isImage := contentType == "image/jpeg" || contentType == "image/png" || contentType == "image/gif"
	if res.StatusCode == http.StatusOK && isImage && isImageType(res.Header.Get("Content-Type")) {
		return &imageBody{request: r, response: res, body: io.MultiReader(bytes.NewReader(head), res.Body), contentType: contentType}, nil
	}
	rest, err := r.readBody(res, maxJSON)
	if err != nil {
		return nil, err
	}
	body := append(head, rest...)
	var s apiStatus
	if json.Unmarshal(body, &s) == nil && s.Code != 0 {
		return nil, r.apiError(res, s)
	}
	return nil, r.unexpectedResponse(res, len(body), "not an image")
}

// isImageType accepts any image type: WeChat sends image/jpg, which is not a
// registered one.
func isImageType(contentType string) bool {
	return contentType == "" || strings.HasPrefix(strings.ToLower(contentType), "image/")
}

// An imageBody reads an image. Reaching the size limit or losing the connection
// is an error, not the end of the image.
type imageBody struct {
	request     *apiRequest
	response    *http.Response
	body        io.Reader
	contentType string
	length      int
	err         error // of Read, except io.EOF
}

func (b *imageBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.body.Read(p[:min(len(p), maxImage+1-b.length)])
	b.length += n
	switch {
	case b.length > maxImage:
		b.err = b.request.unexpectedResponse(b.response, b.length, fmt.Sprintf("longer than the limit of %d bytes", maxImage))
		return n - 1, b.err
	case err != nil && err != io.EOF:
		b.err = b.request.truncatedBody(b.response, err)
		return n, b.err
	}
	return n, err
}
